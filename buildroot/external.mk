include $(sort $(wildcard $(BR2_EXTERNAL_BRANCHPBX_PATH)/package/*/*.mk))
