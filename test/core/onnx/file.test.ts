import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import type { Attribute, Initializer, Model } from '../../../src/core/onnx/proto.ts'
import type { DType } from '../../../src/core/onnx/tensor.ts'
import { decodeModel } from '../../../src/core/onnx/read.ts'
import { dtypes, sizeOf, tensorOf } from '../../../src/core/onnx/tensor.ts'
import { encodeModel } from '../../../src/core/onnx/write.ts'
import { externalLocations } from '../../../src/core/onnx/files.ts'
import { float } from '../../../src/core/onnx/graph.ts'
import { GraphBuilder } from '../../../src/core/onnx/builder.ts'
import { openEngine } from '../../../src/core/engine/open.ts'
import { loadModel, saveModel } from './modelFile.ts'
import { values } from './support.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-onnx-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const name = fc.string({ maxLength: 12 })
const dims = fc.array(fc.nat(3), { maxLength: 3 })
const dtype = fc.constantFrom(...(Object.keys(dtypes) as DType[]))
const anyTensor = fc.tuple(dtype, dims).chain(([type, shape]) => {
  const { array, bytes: width } = dtypes[type]
  const length = sizeOf(shape) * width
  const raw = fc.uint8Array({ minLength: length, maxLength: length })
  return raw.map((data) => ({
    dtype: type,
    dims: shape,
    data: new array(data.slice().buffer, 0, length / width),
  }))
})
const integer = fc.oneof(
  fc.maxSafeInteger(),
  fc
    .bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
    .map((n) => (n >= -9007199254740991n && n <= 9007199254740991n ? Number(n) : n)),
)
const single = fc.float({ noNaN: true })
const attribute: fc.Arbitrary<Attribute> = fc.oneof(
  single.map((value) => ({ type: 'float', value }) as const),
  integer.map((value) => ({ type: 'int', value }) as const),
  name.map((value) => ({ type: 'string', value }) as const),
  anyTensor.map((value) => ({ type: 'tensor', value }) as const),
  fc.array(single).map((value) => ({ type: 'floats', value }) as const),
  fc.array(integer).map((value) => ({ type: 'ints', value }) as const),
  fc.array(name).map((value) => ({ type: 'strings', value }) as const),
)
const initializer: fc.Arbitrary<Initializer> = fc.oneof(
  fc.record({ name, tensor: anyTensor }),
  fc.tuple(name, dtype, dims, fc.nat()).map(([label, type, shape, offsetBytes]) => ({
    name: label,
    dtype: type,
    dims: shape,
    external: { location: 'weights.data', offsetBytes, lengthBytes: sizeOf(shape) * dtypes[type].bytes },
  })),
)
const value = fc.record({
  name,
  dtype,
  dims: fc.array(fc.oneof(fc.nat(), fc.string({ minLength: 1 })), { maxLength: 3 }),
})
const domain = fc.constantFrom('', 'com.microsoft')
const node = fc.record({
  opType: name,
  domain,
  name,
  inputs: fc.array(name, { maxLength: 3 }),
  outputs: fc.array(name, { maxLength: 3 }),
  attributes: fc.dictionary(name, attribute, { maxKeys: 3, noNullPrototype: true }),
})
const model: fc.Arbitrary<Model> = fc.record({
  irVersion: fc.nat(),
  producer: name,
  opsets: fc.dictionary(domain, fc.nat(), { minKeys: 1, noNullPrototype: true }),
  metadata: fc.dictionary(name, name, { maxKeys: 3, noNullPrototype: true }),
  graph: fc.record({
    name,
    nodes: fc.array(node, { maxLength: 4 }),
    initializers: fc.array(initializer, { maxLength: 3 }),
    inputs: fc.array(value, { maxLength: 3 }),
    outputs: fc.array(value, { maxLength: 3 }),
  }),
})

test('any model reads back as it was written, at any alignment, from arrays and from buffers', () => {
  fc.assert(
    fc.property(model, fc.nat(7), (written, shift) => {
      const bytes = encodeModel(written)
      const moved = new Uint8Array(shift + bytes.length)
      moved.set(bytes, shift)
      expect(decodeModel(moved.subarray(shift))).toEqual(written)
      expect(decodeModel(Buffer.from(moved.buffer, shift))).toEqual(written)
    }),
    { numRuns: 200 },
  )
})

/** Reads bytes that may be anything: a model or an InputError, and nothing much larger than the bytes. */
function readAnything(bytes: Uint8Array): void {
  try {
    decodeModel(bytes, 'fuzz')
  } catch (error) {
    expect(error).toBeInstanceOf(InputError)
    expect((error as InputError).message).toContain('fuzz')
  }
}

test('random bytes, truncations and flipped bits give an InputError or a model', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), readAnything), { numRuns: 500 })
  fc.assert(
    fc.property(model, fc.nat(), fc.nat(7), fc.nat(), (written, at, bit, cut) => {
      const bytes = encodeModel(written)
      readAnything(bytes.subarray(0, cut % (bytes.length + 1)))
      bytes[at % bytes.length] ^= 1 << bit
      readAnything(bytes)
    }),
    { numRuns: 500 },
  )
})

test('a size that the data does not bear out allocates nothing', () => {
  const huge = encodeModel({
    irVersion: 10,
    producer: '',
    opsets: { '': 21 },
    metadata: {},
    graph: {
      name: 'g',
      nodes: [],
      initializers: [
        { name: 'w', tensor: { dtype: 'float32', dims: [2 ** 30, 2 ** 20], data: new Float32Array(1) } },
      ],
      inputs: [],
      outputs: [],
    },
  })
  expect(() => decodeModel(huge)).toThrow(/bytes of data/)
})

test('deeply nested graphs are refused, not followed', () => {
  let graph: Model['graph'] = { name: 'leaf', nodes: [], initializers: [], inputs: [], outputs: [] }
  for (let depth = 0; depth < 40; depth++) {
    const attributes = { body: { type: 'graph', value: graph } as const }
    graph = {
      name: '',
      nodes: [{ opType: 'Loop', domain: '', name: '', inputs: [], outputs: [], attributes }],
      initializers: [],
      inputs: [],
      outputs: [],
    }
  }
  const bytes = encodeModel({ irVersion: 10, producer: '', opsets: { '': 21 }, metadata: {}, graph })
  expect(() => decodeModel(bytes)).toThrow(/16 deep/)
})

function wide(): GraphBuilder {
  const g = new GraphBuilder('wide', { metadata: { purpose: 'test' } })
  const w = (n: number) =>
    tensorOf(
      'float32',
      [64, 64],
      Array.from({ length: 4096 }, (_, i) => Math.sin(n + i)),
    )
  const x = g.input('x', 'float32', [1, 64])
  const h = g.layerNorm(g.gemm(x, g.initializer('w0', w(0))), g.constant(Array(64).fill(1)), null, 1e-3)
  g.output(
    g.node(
      'LeakyRelu',
      [g.gemm(h, g.initializer('w1', w(1)))],
      { alpha: float(0.1) },
      { outputs: [{ dtype: 'float32', dims: [1, 64] }] },
    )[0],
    'y',
  )
  return g
}

test('external data: page-aligned, beside the model, read by the runtimes', async () => {
  const path = join(folder, 'external.onnx')
  const files = saveModel(path, wide().toModel(), { externalFromBytes: 1024 })
  expect(files).toEqual([path, `${path}.data`])
  expect(statSync(path).size).toBeLessThan(4096)
  const held = loadModel(path).graph.initializers.flatMap((item) =>
    'external' in item ? [item.external] : [],
  )
  expect(held.map((item) => item.offsetBytes)).toEqual([0, 16384])
  expect(externalLocations(readFileSync(path), path)).toEqual(['external.onnx.data'])
  const whole = join(folder, 'whole.onnx')
  saveModel(whole, wide().toModel())
  expect(readFileSync(whole).equals(Buffer.from(wide().serialize()))).toBe(true)
  expect(readdirSync(folder).filter((file) => file.endsWith('.tmp'))).toEqual([])
  const x = tensorOf(
    'float32',
    [1, 64],
    Array.from({ length: 64 }, (_, i) => Math.cos(i)),
  )
  for (const kind of ['native', 'worker', 'wasm'] as const) {
    const engine = await openEngine(kind)
    const [a, b] = [await engine.create(path, { prepacking: false }), await engine.create(whole)]
    const [ya, yb] = [values((await a.run({ x })).y), values((await b.run({ x })).y)]
    ya.forEach((found, i) => expect(found, kind).toBeCloseTo(yb[i], 4))
    await engine.close()
  }
})
