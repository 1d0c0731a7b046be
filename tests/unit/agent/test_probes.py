"""Which probes run, and what their output says."""

from __future__ import annotations

from mythjobs.agent.probing import probes

LISTING = """Encoders:
 V..... = Video
 ------
 V....D libx264              libx264 H.264 (codec h264)
 V....D libx264rgb           libx264 H.264 RGB (codec h264)
 V....D h264_nvenc           NVIDIA NVENC H.264 encoder (codec h264)
 V..... hevc_vaapi           H.265/HEVC (VAAPI) (codec hevc)
 A....D aac                  AAC (Advanced Audio Coding)
 V....D mpeg4                MPEG-4 part 2
"""


def test_encoders_of_hardware_and_the_usual_ones_of_the_processor_are_tried() -> None:
    assert probes.find_encoders(LISTING) == ["libx264", "h264_nvenc", "hevc_vaapi"]


def test_an_encoder_gets_the_options_that_its_hardware_needs() -> None:
    argv = probes.build_encode_argv("/usr/bin/ffmpeg", "hevc_vaapi", "/dev/dri/renderD128")
    assert argv[0] == "/usr/bin/ffmpeg"
    assert "/dev/dri/renderD128" in argv
    assert argv.index("-vaapi_device") < argv.index("-i") < argv.index("-vf")
    assert "-vaapi_device" not in probes.build_encode_argv("ffmpeg", "libx264", "")
    assert probes.needs_device("hevc_vaapi")
    assert not probes.needs_device("h264_nvenc")


def test_gpus_are_named_once() -> None:
    listed = "GPU 0: NVIDIA GeForce RTX 3060 (UUID: GPU-1)\n"
    names = probes.parse_nvidia_gpus(listed)
    assert names == ["NVIDIA GeForce RTX 3060"]
    assert probes.name_gpus(["nvidia", "i915"], names) == [*names, "i915 (render device)"]
    assert probes.name_gpus([], []) == []
