"""A JPEG 2000 picture is stored if all of its tiles are there, also when Pillow has no mode for it."""

from __future__ import annotations

from base64 import b85decode

import pytest

pytest.importorskip("PIL")

from PIL import Image

from tests.unit.arrived import encode
from vi.server.inspection.checking import Picture
from vi.server.inspection.decoding import Decoder
from vi.server.inspection.frames import InspectionLimits, RefusedError

FIVE_SAMPLES = b85decode(
    "|4;u>05t#r000080000800000000000000800008000000000000jpD0S5sA2LS;G0RaaA0sm3}3;+NC0RaF61ONg5TmS?>K>v^c3IG5A001ih"
    "0soVL(tr;r8d@;YfD(-Zk8#~BP1bo!zQFitMgb3i|Je"
)
HALF_THE_RESOLUTION = b85decode(
    "|4;u>04V?f0000G0000G00000000000000G0000G0000000000009RA0{>C~3;+NC0RR951ONg5TmS?>K>v^c3IG5A001Tc0soWV5l|8=KEDqXgs"
    "{xq$4J*je|q5~IP@X^*#"
)
HALF_IN_ALPHA = b85decode(  # in a JP2
    "0000CYEU2`4GM<}0000KW^{RQYH%_j00000YH%_j0000jYH%`W0000MX=r3}000080000800IXG0000001sntY;pkr0000000000p=xk4WB*V8Q2;"
    "Ce000002mk;82mk;800000000002mk;82mk;800000000690RaaB0{>C~3;+NC0RR951ONg5TmS?>K>uU_B>(|Ka%Ew3Wn>^?c_2@4Wo}APMMofZ"
    "WpZ<AZ*CwmE;TMN|BwI*0000004x9j|C8SlP!cRYzYi3Iu*}@YNY_Pwdf_8D^dZRr6T$*8|Je"
)
"""As `opj_compress -F` writes them; their kinds are refused by Pillow."""


def decode(data: bytes) -> Picture:
    return Decoder(InspectionLimits())("jpeg2000", "image/jp2", data)


def refused(data: bytes) -> str:
    with pytest.raises(RefusedError) as raised:
        decode(data)
    return raised.value.code


@pytest.mark.parametrize(
    ("data", "side"), [(FIVE_SAMPLES, 8), (HALF_THE_RESOLUTION, 16), (HALF_IN_ALPHA, 8)], ids=["5", "half", "alpha"]
)
def test_a_picture_without_a_mode_is_stored_without_a_preview(data: bytes, side: int) -> None:
    stored = Picture(side, side, 1, None)
    assert decode(data) == decode(data[:-2]) == decode(data[:-2] + bytes(300)) == stored
    for kept in range(13, len(data) - 2):
        assert refused(data[:kept]) == "ECORRUPT", kept


@pytest.mark.parametrize("options", [{}, {"no_jp2": True}], ids=["jp2", "j2k"])
def test_the_end_marker_holds_no_pixels(options: dict[str, bool]) -> None:
    scene = Image.radial_gradient("L").convert("RGB").resize((60, 50))
    data = encode("JPEG2000", scene, tile_size=(32, 32), **options)
    whole = decode(data)
    assert (whole.width, whole.height, whole.frames) == (60, 50, 1)
    assert whole.thumbnail
    assert decode(data[:-2]) == decode(data[:-2] + bytes(300)) == whole
    for kept in range(len(data) // 8, len(data) - 2, len(data) // 16):
        assert refused(data[:kept]) == "ECORRUPT", kept


def test_a_tile_that_is_missing_is_found() -> None:
    data = encode("JPEG2000", Image.radial_gradient("L"), tile_size=(128, 128), no_jp2=True)
    last = data.rindex(b"\xff\x90\0\x0a")
    assert refused(data[:last] + b"\xff\xd9") == "ECORRUPT"
