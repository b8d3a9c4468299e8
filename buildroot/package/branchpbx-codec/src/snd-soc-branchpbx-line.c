// SPDX-License-Identifier: GPL-2.0
/*
 * The line card's PCM bus as a codec: 8 kHz, 16 bit, up to 16 slots each way. Nothing is set here: the line chips are programmed over SPI
 * by the firmware, which owns them; the kernel only needs to know what flows.
 */
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <sound/soc.h>

static struct snd_soc_dai_driver line_dai = {
	.name = "branchpbx-line",
	.playback = {
		.stream_name = "Playback",
		.channels_min = 1,
		.channels_max = 16,
		.rates = SNDRV_PCM_RATE_8000,
		.formats = SNDRV_PCM_FMTBIT_S16_LE,
	},
	.capture = {
		.stream_name = "Capture",
		.channels_min = 1,
		.channels_max = 16,
		.rates = SNDRV_PCM_RATE_8000,
		.formats = SNDRV_PCM_FMTBIT_S16_LE,
	},
};

static const struct snd_soc_component_driver line_component = {
	.idle_bias_on = 1,
	.endianness = 1,
};

static int line_probe(struct platform_device *device)
{
	return devm_snd_soc_register_component(&device->dev, &line_component, &line_dai, 1);
}

static const struct of_device_id line_ids[] = {
	{ .compatible = "branchpbx,line-codec" },
	{ }
};
MODULE_DEVICE_TABLE(of, line_ids);

static struct platform_driver line_driver = {
	.driver = {
		.name = "branchpbx-line",
		.of_match_table = line_ids,
	},
	.probe = line_probe,
};
module_platform_driver(line_driver);

MODULE_DESCRIPTION("PCM bus of the BranchPBX line card");
MODULE_LICENSE("GPL");
