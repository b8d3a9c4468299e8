################################################################################
#
# branchpbx
#
################################################################################

BRANCHPBX_VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' $(BR2_EXTERNAL_BRANCHPBX_PATH)/../firmware/__init__.py)
BRANCHPBX_SITE = $(BR2_EXTERNAL_BRANCHPBX_PATH)/..
BRANCHPBX_SITE_METHOD = local
# Of what was made in the checkout only the prompts: `build` holds Buildroot's own output, and modules compiled for this machine or translated
# by another Cython have no place in the image.
BRANCHPBX_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --include /build/prompts --exclude '/build/*' --exclude /.venv --exclude /state \
	--exclude '.*_cache' --exclude __pycache__ --exclude '*.so' --exclude '/firmware/**.c'
BRANCHPBX_LICENSE = Apache-2.0
BRANCHPBX_LICENSE_FILES = LICENSE
BRANCHPBX_DEPENDENCIES = alsa-lib host-python-cython host-python-setuptools libsrtp openssl opus python3
BRANCHPBX_FOLDER = $(TARGET_DIR)/usr/lib/branchpbx

# The architecture of the target decides the flags of setup.py, not that of the machine that builds.
define BRANCHPBX_BUILD_CMDS
	cd $(@D) && $(PKG_PYTHON_SETUPTOOLS_ENV) _PYTHON_HOST_PLATFORM=linux-armv7l \
		$(HOST_DIR)/bin/python3 -c "import platform, runpy; platform.machine = lambda: 'armv7l'; \
		import sys; sys.argv = ['setup.py', '-q', 'build_ext', '--inplace']; runpy.run_path('setup.py', run_name='__main__')"
endef

define BRANCHPBX_INSTALL_TARGET_CMDS
	mkdir -p $(BRANCHPBX_FOLDER)/build $(BRANCHPBX_FOLDER)/board
	rsync -a --prune-empty-dirs --exclude __pycache__ --exclude '*.c' --exclude '*.pyx' --exclude '*.pxd' --exclude '*.pyi' \
		--exclude '*.h' $(@D)/firmware $(BRANCHPBX_FOLDER)/
	cp -a $(@D)/board/. $(BRANCHPBX_FOLDER)/board/
	cp -a $(@D)/build/prompts $(BRANCHPBX_FOLDER)/build/
	$(HOST_DIR)/bin/python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -s $(TARGET_DIR) -p / \
		$(BRANCHPBX_FOLDER)/firmware
endef

$(eval $(generic-package))
