import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import type { DType, Tensor } from '../../../src/core/onnx/tensor.ts'
import { dtypes, tensorOf } from '../../../src/core/onnx/tensor.ts'
import { GraphBuilder } from '../../../src/core/onnx/builder.ts'
import type { Engine } from '../../../src/core/engine/types.ts'
import { EngineError } from '../../../src/core/engine/types.ts'
import { openEngine } from '../../../src/core/engine/open.ts'

/** One suite for every implementation of Engine. */
const kinds = ['native', 'worker', 'wasm'] as const

/** y = x w + b; z = the row's largest position. */
function linear(): Uint8Array {
  const g = new GraphBuilder('linear')
  const x = g.input('x', 'float32', ['N', 2])
  const y = g.gemm(x, g.constant([1, 2, 3, 4], 'float32', [2, 2]), g.constant([10, 20]))
  g.output(y, 'y')
  g.output(g.argMax(y), 'z')
  return g.serialize()
}

const x = tensorOf('float32', [2, 2], [1, 1, -1, 0])

describe.each(kinds)('%s', (kind) => {
  let engine: Engine
  beforeAll(async () => {
    engine = await openEngine(kind)
  })
  afterAll(() => engine.close())

  test('says what it is', () => {
    expect(engine.info.kind).toBe(kind)
    expect(engine.info.name).toBe(kind === 'wasm' ? 'onnxruntime-web' : 'onnxruntime-node')
    expect(engine.info.version).toMatch(/^\d+\.\d+\.\d+/)
  })

  test('computes, and leaves the feeds as they were', async () => {
    const session = await engine.create(linear())
    expect(session.inputNames).toEqual(['x'])
    expect(session.outputNames).toEqual(['y', 'z'])
    const { y, z } = await session.run({ x })
    expect(y).toEqual({ dtype: 'float32', dims: [2, 2], data: Float32Array.from([14, 26, 9, 18]) })
    expect(z).toEqual({ dtype: 'int64', dims: [2], data: BigInt64Array.from([1n, 1n]) })
    expect(x.data).toEqual(Float32Array.from([1, 1, -1, 0]))
    expect(Object.keys(await session.run({ x }, { fetches: ['z'] }))).toEqual(['z'])
    await session.dispose()
  })

  test('outputs of one run survive the next', async () => {
    const session = await engine.create(linear())
    const first = (await session.run({ x })).y
    await session.run({ x: tensorOf('float32', [2, 2], [0, 0, 0, 0]) })
    expect(Array.from(first.data as Float32Array)).toEqual([14, 26, 9, 18])
  })

  test('carries every element type it shares with the others', async () => {
    const types: DType[] = [
      'float32',
      'float64',
      'float16',
      'int8',
      'int16',
      'int32',
      'int64',
      'uint8',
      'uint16',
      'uint32',
      'uint64',
      'bool',
    ]
    const g = new GraphBuilder('types')
    const feeds: Record<string, Tensor> = {}
    for (const dtype of types) {
      g.output(g.reshape(g.input(dtype, dtype, [2, 1]), [2]), `${dtype}Out`)
      const raw = Uint8Array.from({ length: 2 * dtypes[dtype].bytes }, (_, i) => (i === 0 ? 1 : 0))
      feeds[dtype] = { dtype, dims: [2, 1], data: new dtypes[dtype].array(raw.buffer, 0, 2) }
    }
    const out = await (await engine.create(g.serialize())).run(feeds)
    for (const dtype of types) expect(out[`${dtype}Out`]).toEqual({ ...feeds[dtype], dims: [2] })
  })

  test('handles empty tensors and a view into a larger buffer', async () => {
    const session = await engine.create(linear())
    const empty = await session.run({ x: tensorOf('float32', [0, 2], []) })
    expect(empty.y.dims).toEqual([0, 2])
    const view = Float32Array.from([9, 9, 1, 1, 9]).subarray(2, 4)
    const { y } = await session.run({ x: { dtype: 'float32', dims: [1, 2], data: view } })
    expect(Array.from(y.data as Float32Array)).toEqual([14, 26])
  })

  test('runs started together all answer, each with its own', async () => {
    const session = await engine.create(linear())
    const answers = await Promise.all(
      [0, 1, 2, 3].map((n) => session.run({ x: tensorOf('float32', [1, 2], [n, 0]) })),
    )
    expect(answers.map(({ y }) => (y.data as Float32Array)[0])).toEqual([10, 11, 12, 13])
  })

  test('refuses wrong names, types, shapes and models', async () => {
    const session = await engine.create(linear(), { optimization: 'disabled', prepacking: false })
    await expect(session.run({})).rejects.toThrow(InputError)
    await expect(session.run({ x, w: x })).rejects.toThrow(/session feeds[^]*expected: x[^]*found: x, w/)
    await expect(session.run({ x }, { fetches: ['nothing'] })).rejects.toThrow(InputError)
    await expect(session.run({ x: tensorOf('int32', [1, 2], [1, 2]) })).rejects.toThrow(EngineError)
    await expect(session.run({ x: tensorOf('float32', [1, 3], [1, 2, 3]) })).rejects.toThrow(EngineError)
    expect((await session.run({ x })).y.dims).toEqual([2, 2])
    await expect(engine.create(Uint8Array.from([1, 2, 3]))).rejects.toThrow(InputError)
    await expect(engine.create('no/such/model.onnx')).rejects.toThrow(InputError)
    await expect(engine.create(linear(), { threads: 0 })).rejects.toThrow(InputError)
  })

  test('a session disposed of refuses to run; twice is once', async () => {
    const session = await engine.create(linear())
    await session.dispose()
    await session.dispose()
    await expect(session.run({ x })).rejects.toThrow(EngineError)
  })

  test('disposing while a run is pending lets it finish or refuses it', async () => {
    const session = await engine.create(linear())
    const pending = session.run({ x }).then(
      ({ y }) => y.dims,
      (error: unknown) => error,
    )
    await session.dispose()
    const outcome = await pending
    if (!(outcome instanceof EngineError)) expect(outcome).toEqual([2, 2])
  })

  test('an engine closed has let go of its sessions', async () => {
    const other = await openEngine(kind)
    const session = await other.create(linear())
    await other.close()
    await expect(session.run({ x })).rejects.toThrow(EngineError)
  })
})

test('the implementations agree', async () => {
  const g = new GraphBuilder('agree')
  const input = g.input('x', 'float32', [8, 16])
  const weights = tensorOf(
    'float32',
    [16, 16],
    Array.from({ length: 256 }, (_, i) => Math.sin(i)),
  )
  g.output(
    g.softmax(
      g.gelu(g.layerNorm(g.gemm(input, g.initializer('w', weights)), g.constant(Array(16).fill(1)), null)),
    ),
    'y',
  )
  const feed = tensorOf(
    'float32',
    [8, 16],
    Array.from({ length: 128 }, (_, i) => Math.cos(i * i)),
  )
  const results: Float32Array[] = []
  for (const kind of kinds) {
    const engine = await openEngine(kind)
    results.push((await (await engine.create(g.serialize())).run({ x: feed })).y.data as Float32Array)
    await engine.close()
  }
  expect(results[1]).toEqual(results[0])
  results[2].forEach((value, i) => expect(Math.abs(value - results[0][i])).toBeLessThan(1e-6))
})
