"""SipHash-2-4 by its paper, for the rules that name it."""

MASK = 2**64 - 1


def _round(v):
    left = lambda x, by: (x << by | x >> 64 - by) & MASK
    a, b, c, d = v
    a = (a + b) & MASK
    b = left(b, 13) ^ a
    a = left(a, 32)
    c = (c + d) & MASK
    d = left(d, 16) ^ c
    a = (a + d) & MASK
    d = left(d, 21) ^ a
    c = (c + b) & MASK
    b = left(b, 17) ^ c
    c = left(c, 32)
    return a, b, c, d


def siphash24(data, key=bytes(16)):
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = (k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573)
    whole = len(data) // 8 * 8
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    words.append(int.from_bytes(data[whole:], "little") | (len(data) & 255) << 56)
    for word in words:
        v = _round(_round((v[0], v[1], v[2], v[3] ^ word)))
        v = (v[0] ^ word, *v[1:])
    v = (v[0], v[1], v[2] ^ 255, v[3])
    for _ in range(4):
        v = _round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


#: The paper's own example.
assert siphash24(bytes(range(15)), bytes(range(16))) == 0xA129CA6149BE45E5
