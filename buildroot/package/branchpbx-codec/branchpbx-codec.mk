################################################################################
#
# branchpbx-codec
#
################################################################################

BRANCHPBX_CODEC_VERSION = 1.0
BRANCHPBX_CODEC_SITE = $(BR2_EXTERNAL_BRANCHPBX_PATH)/package/branchpbx-codec/src
BRANCHPBX_CODEC_SITE_METHOD = local
BRANCHPBX_CODEC_LICENSE = GPL-2.0

$(eval $(kernel-module))
$(eval $(generic-package))
