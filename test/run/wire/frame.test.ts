import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import { DEFAULT_NETWORK } from '../../../src/plan/price/network.ts'
import { encodeFrames, FrameParser, makeFrame } from '../../../src/run/wire/frame.ts'
import { FRAME, FRAME_HEADER_BYTES } from '../../../src/run/wire/types.ts'
import { idsFrame, jsonFrame } from '../../../src/run/wire/payloads.ts'
import { WireError } from '../../../src/run/wire/errors.ts'
import { anyFrame, concat, parseAll, singly } from './support.ts'

const STREAM = [
  jsonFrame(FRAME.plan, { layers: 3 }, { request: 5 }),
  makeFrame(FRAME.close, { request: 5, position: 17 }),
  makeFrame(FRAME.tensor, { bits: 8, count: 1, step: 3, payload: Uint8Array.of(0, 255, 128, 7) }),
  idsFrame([40_000], { request: 5, position: 18, flags: 1 }),
]
const BYTES = concat(encodeFrames(STREAM, 0))

/** BYTES with the header of the first frame changed. */
function changed(change: (view: DataView) => void): Uint8Array {
  const bytes = BYTES.slice()
  change(new DataView(bytes.buffer))
  return bytes
}

describe('encoding', () => {
  /**
   * python3: p = bytes([1,2,3,4,5]); h = struct.pack('<IBBHIIIIBB', 5, 2, 8, 513, 0x01020304, 7, 0xdeadbeef, 99,
   * 16, 3); h += struct.pack('<H', zlib.crc32(h) & 0xffff); (h + struct.pack('<I', zlib.crc32(h + p)) + p).hex()
   */
  it('gives the bytes that Python gives for the documented header', () => {
    const frame = makeFrame(FRAME.tensor, {
      step: 513,
      request: 0x01020304,
      position: 0xdeadbeef,
      count: 99,
      bits: 16,
      flags: 3,
      payload: Uint8Array.of(1, 2, 3, 4, 5),
    })
    const hex = Buffer.concat(encodeFrames([frame], 7)).toString('hex')
    expect(hex).toBe('05000000020801020403020107000000efbeadde6300000010035a52298f47160102030405')
  })

  it('charges a message what the cost model charges', () => {
    expect(FRAME_HEADER_BYTES).toBe(DEFAULT_NETWORK.frameBytes)
    expect(concat(encodeFrames([makeFrame(FRAME.close)], 0))).toHaveLength(32)
  })

  it('copies small payloads beside their headers and passes large ones by reference', () => {
    const [small, large] = [new Uint8Array(100), new Uint8Array(100_000)]
    const frames = [small, large, small, small].map((payload) => makeFrame(FRAME.tensor, { payload }))
    const parts = encodeFrames(frames, 0)
    expect(parts.map((part) => part.length)).toEqual([164, 100_000, 264])
    expect(parts[1]).toBe(large)
  })

  it.each([
    ['step', 65536],
    ['request', -1],
    ['position', 1.5],
    ['count', 2 ** 32],
    ['bits', 256],
    ['flags', NaN],
  ])('refuses a %s of %d', (name, value) => {
    const frame = makeFrame(FRAME.tensor, { [name]: value })
    expect(() => encodeFrames([frame], 0)).toThrow(`frame field ${name}`)
  })
})

describe('parsing', () => {
  it('gives back what was encoded, in chunks of any size', () => {
    const chunked = fc.record({
      frames: fc.array(anyFrame(), { maxLength: 8 }),
      seed: fc.nat(),
      most: fc.integer({ min: 1, max: 400 }),
    })
    fc.assert(
      fc.property(chunked, ({ frames, seed, most }) => {
        const bytes = concat(encodeFrames(frames, 0))
        const chop = randomStream(seed, 'chop')
        const chunks: Uint8Array[] = []
        for (let at = 0; at < bytes.length; at += chunks[chunks.length - 1].length) {
          chunks.push(bytes.subarray(at, at + 1 + chop.integer(most)))
        }
        expect(parseAll(chunks)).toEqual({ frames, error: null, insideFrame: false })
        expect(parseAll(singly(bytes)).frames).toEqual(frames)
      }),
      { numRuns: 200 },
    )
  })

  it('counts sequence numbers over several writes', () => {
    const parser = new FrameParser(() => Infinity)
    const seen: number[] = []
    for (let sequence = 0; sequence < 3; sequence++) {
      for (const part of encodeFrames([makeFrame(FRAME.close, { position: sequence })], sequence)) {
        parser.push(part, (frame) => seen.push(frame.position))
      }
    }
    expect(seen).toEqual([0, 1, 2])
  })

  it('delivers at every truncation the whole frames before it, and knows whether it is inside one', () => {
    const ends = STREAM.map((_, i) => concat(encodeFrames(STREAM.slice(0, i + 1), 0)).length)
    for (let length = 0; length < BYTES.length; length++) {
      const { frames, error, insideFrame } = parseAll([BYTES.subarray(0, length)])
      expect(error).toBeNull()
      expect(frames).toEqual(STREAM.slice(0, ends.filter((end) => end <= length).length))
      expect(insideFrame).toBe(length > 0 && !ends.includes(length))
    }
  })

  it('never takes a stream with one bit flipped for another', () => {
    for (let bit = 0; bit < 8 * BYTES.length; bit++) {
      const bytes = BYTES.slice()
      bytes[bit >> 3] ^= 1 << (bit & 7)
      const { frames, error } = parseAll([bytes])
      expect(frames.length).toBeLessThan(STREAM.length)
      expect(frames).toEqual(STREAM.slice(0, frames.length))
      // At once: a length that grew is not waited for.
      expect(error).toBeInstanceOf(WireError)
    }
  })

  it.each<[string, Uint8Array, string, string]>([
    ['version', changed((view) => view.setUint8(4, 1)), 'E_WIRE_VERSION', 'version 2\n  found: version 1'],
    ['type', changed((view) => view.setUint8(5, 15)), 'E_WIRE_TYPE', '1..14\n  found: 15'],
    ['type 0', changed((view) => view.setUint8(5, 0)), 'E_WIRE_TYPE', '1..14\n  found: 0'],
    ['header check', changed((view) => view.setUint8(26, 9)), 'E_WIRE_CHECKSUM', 'header of a plan frame'],
    ['length', changed((view) => view.setUint8(1, 128)), 'E_WIRE_CHECKSUM', 'header of a plan frame'],
    ['sequence', changed((view) => view.setUint32(12, 4, true)), 'E_WIRE_SEQUENCE', '0\n  found: 4'],
    ['payload', changed((view) => view.setUint8(33, 0)), 'E_WIRE_CHECKSUM', 'found: 0x'],
    ['step', changed((view) => view.setUint8(6, 1)), 'E_WIRE_CHECKSUM', 'header of a plan frame'],
  ])('names a wrong %s', (_, bytes, code, text) => {
    const { frames, error } = parseAll([bytes])
    expect(frames).toEqual([])
    expect(error).toMatchObject({ code })
    expect((error as Error).message).toContain(text)
  })

  it('refuses a frame that comes twice and one that is left out', () => {
    const [first, second, third] = STREAM.map((frame, i) => concat(encodeFrames([frame], i)))
    expect(parseAll([first, second, second])).toMatchObject({ error: { code: 'E_WIRE_SEQUENCE' } })
    expect(parseAll([first, third])).toMatchObject({ error: { code: 'E_WIRE_SEQUENCE' } })
  })

  it('refuses a size before it allocates', () => {
    const huge = 128 * 1024 * 1024
    const allocated = (cap: number): { error: unknown; bytes: number } => {
      const header = changed((view) => {
        view.setUint32(0, huge, true)
        view.setUint16(26, crc32(new Uint8Array(view.buffer, 0, 26)) & 0xffff, true)
      }).subarray(0, 32)
      const parser = new FrameParser(() => cap)
      const before = process.memoryUsage().arrayBuffers
      let error: unknown = null
      try {
        parser.push(header, () => {})
      } catch (thrown) {
        error = thrown
      }
      return { error, bytes: process.memoryUsage().arrayBuffers - before }
    }
    const refused = allocated(1000)
    expect(refused.error).toMatchObject({
      code: 'E_WIRE_SIZE',
      message: `payload of a plan frame\n  expected: at most 1000 bytes\n  found: ${huge} bytes`,
    })
    expect(refused.bytes).toBeLessThan(1e6)
    // What the refusal avoided; the system gives the pages only when they are written.
    const { error, bytes } = allocated(huge)
    expect(error).toBeNull()
    expect(bytes).toBeGreaterThan(huge / 2)
  })

  it('delivers nothing after an error', () => {
    const parser = new FrameParser(() => Infinity)
    const deliver = vi.fn()
    expect(() =>
      parser.push(
        changed((view) => view.setUint8(4, 1)),
        deliver,
      ),
    ).toThrow('version 1')
    expect(() => parser.push(BYTES, deliver)).toThrow('no bytes after an error')
    expect(deliver).not.toHaveBeenCalled()
  })

  it('meets garbage with a WireError or with patience', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 5 }), (chunks) => {
        const { frames, error } = parseAll(chunks, () => 4096)
        expect(frames).toEqual([])
        expect(error === null || error instanceof WireError).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })

  it('meets frames with bytes changed, cut out or put in by delivering a prefix only', () => {
    const damage = fc.record({
      at: fc.nat(BYTES.length - 1),
      cut: fc.nat(40),
      put: fc.uint8Array({ maxLength: 40 }),
    })
    fc.assert(
      fc.property(damage, ({ at, cut, put }) => {
        const bytes = concat([BYTES.subarray(0, at), put, BYTES.subarray(at + cut)])
        const { frames, error } = parseAll([bytes], () => 4096)
        expect(frames).toEqual(STREAM.slice(0, frames.length))
        expect(error === null || error instanceof WireError).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })
})
