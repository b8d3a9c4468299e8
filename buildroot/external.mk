include $(sort $(wildcard $(BR2_EXTERNAL_BRANCHPBX_PATH)/package/*/*.mk))

# The boot loader's default environment is the board's uboot.env with the words of its board file filled in. Of a stored environment it
# believes four variables only, as on the emulated board (tools/vm/uboot.py): who can write the disk cannot change how the board boots.
BRANCHPBX_BOARD_DIR = $(BR2_EXTERNAL_BRANCHPBX_PATH)/../board/$(call qstrip,$(BR2_ROOTFS_POST_SCRIPT_ARGS))

define BRANCHPBX_UBOOT_ENVIRONMENT
	python3 $(BR2_EXTERNAL_BRANCHPBX_PATH)/common/environment.py $(BRANCHPBX_BOARD_DIR) >$(@D)/branchpbx.env
endef
UBOOT_POST_PATCH_HOOKS += BRANCHPBX_UBOOT_ENVIRONMENT
UBOOT_MAKE_OPTS += 'KCPPFLAGS=-DCFG_ENV_FLAGS_LIST_STATIC=\"BOOT_ORDER:sw,BOOT_A_LEFT:dw,BOOT_B_LEFT:dw,RESCUE:sw\"'

# The HTTP parser that comes with aiohttp 3.13.3 has a way for NEON that GCC refuses on 32 bits (one kind of vector for another), and that
# counts on the number of trailing zeros of zero, which is not defined there: the plain way is taken, as in the distribution's packages.
PYTHON_AIOHTTP_ENV += CFLAGS="$(TARGET_CFLAGS) -U__ARM_NEON__"
