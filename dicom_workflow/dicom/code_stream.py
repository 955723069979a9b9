"""What a JPEG, JPEG-LS or JPEG 2000 code stream says of itself, and the lower resolutions that JPEG 2000 holds.

JPEG 2000 stores an image as a small one and, for each doubling, what has to be added. In most files the small one comes first.
So the beginning of a code stream, with a header that promises no more than that, is a code stream of the small image: any
decoder reads it, and works only for the pixels that are wanted.

References: ISO/IEC 10918-1 B.2.2 (SOF), 14495-1 C.2.2 (SOF55); ISO/IEC 15444-1 A.4.2 (SOT), A.5.1 (SIZ), A.6.1 (COD),
A.6.4 (QCD), B.5 (resolution levels), B.12 (order of packets).
"""

from __future__ import annotations

import re
import struct

__all__ = ["code_stream_size", "halvings_of", "lower_resolution"]

_SIZE, _CODING, _QUANTIZATION, _COMMENT = 0xFF51, 0xFF52, 0xFF5C, 0xFF64
_TILE, _DATA = 0xFF90, 0xFF93
_END = b"\xff\xd9"
_BEGIN, _JP2_FILE = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
_JPEG_FRAMES = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}  # SOF markers; tables lie between them

_LAYER_FIRST, _RESOLUTION_FIRST = 0, (1, 2)  # orders of packets
_SPARE_BYTES = 2**16


def code_stream_size(frame: bytes) -> tuple[int, int, int] | None:
    """Return rows, columns and components of a JPEG, JPEG-LS or JPEG 2000 code stream, None for anything else."""
    if frame.startswith((_BEGIN, _JP2_FILE)):
        # In a JP2 file boxes come first, and one of them may hold what only looks like a code stream: the largest counts.
        starts = [found.start() for found in re.finditer(_BEGIN, frame)] if frame.startswith(_JP2_FILE) else [0]
        sizes = [struct.unpack_from(">4L16xH", frame, start + 8) for start in starts]
        sizes = [(bottom - top, right - left, components) for right, bottom, left, top, components in sizes]
        return max(sizes, key=lambda size: size[0] * size[1] * size[2], default=None)
    at = 2
    while frame[:2] == b"\xff\xd8" and frame[at] == 0xFF:
        if frame[at + 1] in _JPEG_FRAMES:
            rows, columns, components = struct.unpack_from(">HHB", frame, at + 5)
            return rows, columns, components
        at += 1 if frame[at + 1] == 0xFF else 2 + int(struct.unpack_from(">H", frame, at + 2)[0])  # FF may fill
    return None


def halvings_of(frame: bytes | memoryview, size: tuple[int, int], bits: int) -> int:
    """Return how often a plain JPEG 2000 code stream of one unsigned component may be halved; 0 for any other.

    Parameters
    ----------
    frame : bytes or memoryview
        A code stream without the boxes of a JP2 file.
    size : (rows, columns)
        What it has to be of.
    bits : int
        How many bits its values have to have.
    """
    if frame[:4] != _BEGIN:
        return 0
    _, right, bottom, left, top, _, _, _, _, components, depth, step_x, step_y = struct.unpack_from(">H8LH3B", frame, 6)
    # A grid that does not begin at 0, or has holes, puts the pixels of a lower resolution elsewhere.
    if (left, top, components, depth, step_x, step_y) != (0, 0, 1, bits - 1, 1, 1) or (bottom, right) != size:
        return 0
    segments, _ = _main_header(frame)
    return next((body[5] for marker, body in segments if marker == _CODING), 0)


def lower_resolution(frame: bytes | memoryview, halvings: int) -> bytes | None:
    """Return the code stream of an image at a lower resolution, from that of the whole one.

    Parameters
    ----------
    frame : bytes or memoryview
        A code stream for which `halvings_of` allows so many.
    halvings : int
        How often both sides are halved, rounded up.

    Returns
    -------
    bytes, or None
        None where the lower resolution does not lie together at the beginning (several tiles, layers that each hold all
        resolutions, own precincts), and where the code stream does not end as it should.
    """
    segments, tile = _main_header(frame)
    if not segments or {marker for marker, _ in segments} - {_SIZE, _CODING, _QUANTIZATION, _COMMENT}:
        return None
    shorter = bytearray(frame[:2])
    pixels = bits = 0
    for marker, body in segments:
        if marker == _SIZE:
            right, bottom, _, _, tile_right, tile_bottom, tile_left, tile_top = struct.unpack_from(">8L", body, 2)
            if tile_left or tile_top or tile_right < right or tile_bottom < bottom:
                return None
            columns, rows = -(-right >> halvings), -(-bottom >> halvings)
            pixels, bits = rows * columns, body[36] + 1
            struct.pack_into(">8L", body, 2, columns, rows, 0, 0, columns, rows, 0, 0)
        elif marker == _CODING:
            style, order, layers = struct.unpack_from(">BBH", body)
            if style & 1 or not (order in _RESOLUTION_FIRST or (order == _LAYER_FIRST and layers == 1)):
                return None
            body[5] -= halvings
        elif marker == _QUANTIZATION:
            # One entry for each band of each resolution, without step or with; or one from which the others are derived.
            entry_bytes = {0: 1, 2: 2}.get(body[0] & 31, 0)
            del body[len(body) - 3 * halvings * entry_bytes :]
        shorter += struct.pack(">HH", marker, 2 + len(body)) + body
    length, tile_bytes, part, parts, data = struct.unpack_from(">2xH2xLBBH", frame, tile)
    ends = frame[tile + tile_bytes : tile + tile_bytes + 2] == _END
    if (length, part, parts, data) != (10, 0, 1, _DATA) or not ends:
        return None
    # Half as much again as the pixels would take as they are; a decoder that misses something says so.
    enough = 3 * pixels * bits // 16 + _SPARE_BYTES
    kept = frame[tile + 14 : tile + min(tile_bytes, 14 + enough)]
    return bytes(shorter) + struct.pack(">HHHLBBH", _TILE, 10, 0, 14 + len(kept), 0, 1, _DATA) + kept + _END


def _main_header(frame: bytes | memoryview) -> tuple[list[tuple[int, bytearray]], int]:
    """Return markers and contents of the segments before the first tile, and where that begins; none where it never does."""
    segments: list[tuple[int, bytearray]] = []
    at = 2
    while at + 4 <= len(frame):
        marker, length = struct.unpack_from(">2H", frame, at)
        if marker == _TILE:
            return segments, at
        if marker < 0xFF00 or length < 2:
            break
        segments.append((marker, bytearray(frame[at + 4 : at + 2 + length])))
        at += 2 + length
    return [], at
