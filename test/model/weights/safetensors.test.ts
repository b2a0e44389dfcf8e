import fc from 'fast-check'
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { openPretrained } from '../../../src/model/weights/open.ts'
import { openSafetensors } from '../../../src/model/weights/safetensors.ts'
import { elementCount, readTensor } from '../../../src/model/weights/tensorFile.ts'
import type { TensorStore } from '../../../src/model/weights/tensorFile.ts'
import { writeSafetensors } from '../../../src/model/weights/writeSafetensors.ts'
import { llamaConfig, llamaTensors, safetensorsOf, withHeader, writeDirectory } from './directories.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-safetensors-'))
afterAll(() => rmSync(folder, { recursive: true }))
const path = join(folder, 'x.safetensors')

const open = (file = path): TensorStore => ({ where: file, entries: openSafetensors(file) })
const header = (entries: object, data = 0) => withHeader(JSON.stringify(entries), Buffer.alloc(data))
const entry = (begin: number, end: number, shape = [(end - begin) / 4], dtype = 'F32') => ({
  dtype,
  shape,
  data_offsets: [begin, end],
})

const finite = fc.float({ noNaN: true, noDefaultInfinity: true })
const tensorMap = fc.dictionary(
  fc.string({ minLength: 1, maxLength: 12, unit: 'binary' }),
  fc
    .array(fc.nat(4), { maxLength: 3 })
    .chain((dims) =>
      fc
        .array(finite, { minLength: elementCount(dims), maxLength: elementCount(dims) })
        .map((values) => ({ dims, data: Float32Array.from(values) })),
    ),
  { maxKeys: 5 },
)

describe('safetensors', () => {
  test('what is written is what is read, under any name', () => {
    fc.assert(
      fc.property(tensorMap, (tensors) => {
        const list = Object.entries(tensors).map(([name, value]) => ({
          name,
          ...value,
          dtype: 'F32' as const,
        }))
        writeSafetensors(path, list)
        const store = open()
        expect([...store.entries.keys()]).toEqual(Object.keys(tensors))
        for (const { name, dims, data } of list) expect(readTensor(store, name, dims)).toEqual(data)
      }),
      { numRuns: 60 },
    )
  })

  test('F16 is read and written to the nearest, ties to even; BF16 is read', () => {
    const data = Float32Array.of(
      0,
      -0,
      1,
      65_504,
      -(2 ** -24),
      1 + 2 ** -11,
      1 + 3 * 2 ** -11,
      0.1,
      2 ** -14,
      2 ** -26,
    )
    writeSafetensors(path, [{ name: 'a', dims: [10], data, dtype: 'F16' }])
    const read = readTensor(open(), 'a', [10])
    expect([...read]).toEqual([0, -0, 1, 65_504, -(2 ** -24), 1, 1 + 2 ** -9, 0.0999755859375, 2 ** -14, 0])
    const brain = Buffer.from(Float32Array.of(1.5, -3, 0.15625).buffer)
    const upper = Buffer.concat([0, 1, 2].map((i) => brain.subarray(4 * i + 2, 4 * i + 4)))
    writeFileSync(path, withHeader(JSON.stringify({ b: entry(0, 6, [3], 'BF16') }), upper))
    expect([...readTensor(open(), 'b', [3])]).toEqual([1.5, -3, 0.15625])
    const tooLarge = { name: 'a', dims: [1], data: Float32Array.of(70_000), dtype: 'F16' as const }
    expect(() => writeSafetensors(path, [tooLarge])).toThrow(/tensor a: .*70000/)
  })

  test('long tensors are converted in pieces', () => {
    const size = 2_100_011
    const data = Float32Array.from({ length: size }, (_, i) => (i % 2048) - 1024)
    writeSafetensors(path, [{ name: 'a', dims: [size], data, dtype: 'F16' }])
    expect(
      Buffer.compare(Buffer.from(readTensor(open(), 'a', [size]).buffer), Buffer.from(data.buffer)),
    ).toBe(0)
  })

  test.each([
    ['an empty file', Buffer.alloc(0), /header length/],
    [
      'a header past the end',
      withHeader('{}', Buffer.alloc(0)).fill(200, 0, 2),
      /header length.*\n.*2 to 2 bytes/,
    ],
    ['a length of 2^64 - 1', Buffer.alloc(16, 255), /18446744073709551615 bytes/],
    ['no JSON', withHeader('{"a"', Buffer.alloc(0)), /JSON/],
    ['bytes that are no UTF-8', withHeader('{}', Buffer.alloc(0)).fill(255, 8), /UTF-8/],
    ['deep nesting', withHeader('['.repeat(1e5), Buffer.alloc(0)), /3 levels/],
    ['an array', withHeader('[]', Buffer.alloc(0)), /object/],
    ['a type it does not know', header({ a: entry(0, 4, [1], 'F4') }, 4), /tensor "a": dtype/],
    ['a negative size', header({ a: entry(0, 4, [-1]) }, 4), /shape/],
    ['a size no number holds', header({ a: entry(0, 4, [2 ** 52, 2 ** 52]) }, 4), /tensor "a"/],
    ['more bytes than the shape', header({ a: entry(0, 8, [1]) }, 8), /4 bytes for F32 \[1\]/],
    ['an overlap', header({ a: entry(0, 8), b: entry(4, 12) }, 12), /tensor "b".*\n.*byte 8/],
    ['a hole', header({ a: entry(0, 4), b: entry(8, 12) }, 12), /tensor "b".*\n.*byte 4/],
    ['bytes left over', header({ a: entry(0, 4) }, 5), /4 bytes of tensors.*\n.*5 bytes/],
    ['a truncated file', header({ a: entry(0, 400) }, 396), /400 bytes of tensors/],
    ['metadata of numbers', header({ __metadata__: { format: 1 } }), /__metadata__/],
    ['a field too many', header({ a: { ...entry(0, 4), extra: 1 } }, 4), /tensor "a"/],
    [
      'a name that occurs twice',
      withHeader(
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        Buffer.alloc(4),
      ),
      /every name once/,
    ],
  ])('%s is refused', (_, bytes, message) => {
    writeFileSync(path, bytes)
    expect(() => open()).toThrow(InputError)
    expect(() => open()).toThrow(message)
  })

  test('an integer tensor is no obstacle until it is asked for; a missing or misshapen one is named', () => {
    writeFileSync(path, header({ mask: entry(0, 8, [1], 'I64'), w: entry(8, 24, [2, 2]) }, 24))
    const store = open()
    expect(readTensor(store, 'w', [2, 2])).toHaveLength(4)
    expect(() => readTensor(store, 'mask', [1])).toThrow(/tensor mask\n.*F32, F16 or BF16\n.*I64/)
    expect(() => readTensor(store, 'v', [1])).toThrow(/tensor v\n.*\[1\]\n.*no tensor/)
    expect(() => readTensor(store, 'w', [4])).toThrow(/dimensions \[4\]\n.*\[2, 2\]/)
  })

  test('a file that is cut after it was opened is refused, not read past its end', () => {
    writeFileSync(path, header({ w: entry(0, 64) }, 64))
    const store = open()
    truncateSync(path, readFileSync(path).length - 1)
    expect(() => readTensor(store, 'w', [16])).toThrow(/as when it was opened/)
  })
})

/** Either an InputError, or tensors that lie within the file and are the bytes that stand there. */
function openOrRefuse(bytes: Buffer): void {
  writeFileSync(path, bytes)
  let store: TensorStore
  try {
    store = open()
  } catch (error) {
    expect(error).toBeInstanceOf(InputError)
    return
  }
  for (const [name, { dims, dtype, offset }] of store.entries) {
    if (dtype !== 'F32') continue
    const size = 4 * elementCount(dims)
    expect(offset + size).toBeLessThanOrEqual(bytes.length)
    const read = Buffer.from(readTensor(store, name, dims).buffer)
    expect(Buffer.compare(read, bytes.subarray(offset, offset + size))).toBe(0)
  }
}

describe('damaged files', () => {
  const valid = safetensorsOf({
    'a.weight': { dims: [2, 3], data: Float32Array.from({ length: 6 }, (_, i) => i) },
    b: { dims: [4], data: Float32Array.from({ length: 4 }, (_, i) => -i) },
  })

  test('random bytes, random headers', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => openOrRefuse(Buffer.from(bytes))))
    fc.assert(
      fc.property(fc.json(), fc.nat(40), (json, data) => openOrRefuse(withHeader(json, Buffer.alloc(data)))),
    )
  })

  test('every single bit flipped', () => {
    for (let bit = 0; bit < 8 * valid.length; bit++) {
      const damaged = Buffer.from(valid)
      damaged[bit >> 3] ^= 1 << (bit & 7)
      openOrRefuse(damaged)
    }
  })

  test('a model with any stretch of its configuration replaced opens or is refused', () => {
    const tensors = llamaTensors({ ...llamaConfig, num_hidden_layers: 1 })
    const place = writeDirectory(join(folder, 'model'), llamaConfig, { 'model.safetensors': tensors })
    const text = JSON.stringify({ ...llamaConfig, num_hidden_layers: 1 })
    const patch = fc.oneof(
      fc.string({ maxLength: 6 }),
      fc.jsonValue({ maxDepth: 1 }).map((v) => JSON.stringify(v)),
    )
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.nat(12), patch, (at, length, replacement) => {
        writeFileSync(join(place, 'config.json'), text.slice(0, at) + replacement + text.slice(at + length))
        try {
          expect(openPretrained(place).source.model.layers).toBe(1)
        } catch (error) {
          expect(error).toBeInstanceOf(InputError)
        }
      }),
      { numRuns: 200 },
    )
  })
})
