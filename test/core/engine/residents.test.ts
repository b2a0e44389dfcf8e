import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { GraphBuilder } from '../../../src/core/onnx/builder.ts'
import { tensorOf } from '../../../src/core/onnx/tensor.ts'
import type { Tensor } from '../../../src/core/onnx/tensor.ts'
import type { Engine, Resident, Session } from '../../../src/core/engine/types.ts'
import { EngineError } from '../../../src/core/engine/types.ts'
import { openEngine } from '../../../src/core/engine/open.ts'

/** One suite for every implementation of Engine. */
const kinds = ['native', 'worker', 'wasm'] as const
const [heads, headDim] = [3, 4]

/**
 * One token attends to its cache and itself: keys are x, values x + 1. Inputs x [heads, n, headDim], keys and
 * values [heads, capacity, headDim], mask [1, capacity]; outputs y [heads, n, headDim], newKeys, newValues.
 */
function attention(): Uint8Array {
  const g = new GraphBuilder('attention')
  const x = g.input('x', 'float32', [heads, 'N', headDim])
  const keys = g.input('keys', 'float32', [heads, 'capacity', headDim])
  const values = g.input('values', 'float32', [heads, 'capacity', headDim])
  const mask = g.input('mask', 'float32', [1, 'capacity'])
  const newValues = g.add(x, 1)
  const past = g.add(g.matmul(x, g.transpose(keys, [0, 2, 1])), mask)
  const own = g.matmul(x, g.transpose(x, [0, 2, 1]))
  const weights = g.softmax(g.concat([past, own], 2))
  g.output(g.matmul(weights, g.concat([values, newValues], 1)), 'y')
  g.output(g.identity(x), 'newKeys')
  g.output(newValues, 'newValues')
  return g.serialize()
}

/** The same for one token, from all tokens so far: rows of [heads, headDim]. */
function attend(tokens: readonly Float32Array[]): number[] {
  const out: number[] = []
  const query = tokens[tokens.length - 1]
  for (let h = 0; h < heads; h++) {
    const row = (token: Float32Array) => token.subarray(h * headDim, (h + 1) * headDim)
    const scores = tokens.map((token) =>
      Math.exp(row(token).reduce((sum, key, i) => sum + key * row(query)[i], 0)),
    )
    const total = scores.reduce((sum, score) => sum + score, 0)
    for (let i = 0; i < headDim; i++) {
      out.push(tokens.reduce((sum, token, t) => sum + (scores[t] / total) * (row(token)[i] + 1), 0))
    }
  }
  return out
}

function token(seed: number): Float32Array {
  return Float32Array.from({ length: heads * headDim }, (_, i) => Math.sin(seed * 7.3 + i * i))
}

function mask(held: number, capacity: number): Tensor {
  return tensorOf(
    'float32',
    [1, capacity],
    Array.from({ length: capacity }, (_, t) => (t < held ? 0 : -Infinity)),
  )
}

const zeroCopy = { rows: 2, columns: 3 }
function ramp(n: number, from = 0): Tensor {
  const { rows, columns } = zeroCopy
  return tensorOf(
    'float32',
    [rows, n, columns],
    Array.from({ length: rows * n * columns }, (_, i) => from + i),
  )
}

/** y = x, whatever the shape's length of three; w = x as float64. */
function echo(): Uint8Array {
  const g = new GraphBuilder('echo')
  const x = g.input('x', 'float32', ['A', 'B', 'C'])
  g.output(g.identity(x), 'y')
  g.output(g.cast(x, 'float64'), 'w')
  return g.serialize()
}

describe.each(kinds)('%s', (kind) => {
  let engine: Engine
  let other: Engine
  let session: Session
  let echoing: Session
  beforeAll(async () => {
    engine = await openEngine(kind)
    other = await openEngine(kind === 'native' ? 'wasm' : 'native')
    session = await engine.create(attention())
    echoing = await engine.create(echo())
  })
  afterAll(async () => {
    await engine.close()
    await other.close()
  })

  async function step(keys: Resident, values: Resident, tokens: readonly Float32Array[]): Promise<number[]> {
    const at = tokens.length - 1
    const fetched = await session.run(
      { x: tensorOf('float32', [heads, 1, headDim], tokens[at]), mask: mask(at, keys.dims[1]) },
      {
        residents: { keys, values },
        inserts: [
          { output: 'newKeys', into: keys, at },
          { output: 'newValues', into: values, at },
        ],
      },
    )
    expect(Object.keys(fetched)).toEqual(['y'])
    return Array.from(fetched.y.data as Float32Array)
  }

  test('attends to a cache that is appended to and grows, as plain arrays do', async () => {
    const [keys, values] = [
      await engine.allocate([heads, 1, headDim]),
      await engine.allocate([heads, 1, headDim]),
    ]
    const tokens: Float32Array[] = []
    for (let t = 0; t < 70; t++) {
      tokens.push(token(t))
      if (t === keys.dims[1]) {
        const grown = [keys.grow(2 * t), values.grow(2 * t)]
        expect(keys.dims).toEqual([heads, 2 * t, headDim])
        const y = await step(keys, values, tokens)
        attend(tokens).forEach((value, i) => expect(y[i]).toBeCloseTo(value, 5))
        await Promise.all(grown)
        continue
      }
      const y = await step(keys, values, tokens)
      attend(tokens).forEach((value, i) => expect(y[i]).toBeCloseTo(value, 5))
    }
    const held = await keys.read(0, 70)
    expect(held.dims).toEqual([heads, 70, headDim])
    for (let t = 0; t < 70; t++) {
      for (let h = 0; h < heads; h++) {
        const at = (h * 70 + t) * headDim
        expect((held.data as Float32Array).slice(at, at + headDim)).toEqual(
          tokens[t].slice(h * headDim, (h + 1) * headDim),
        )
      }
    }
    await Promise.all([keys.dispose(), values.dispose()])
  })

  test('runs, growths and reads asked for at once happen in that order', async () => {
    const [keys, values] = [
      await engine.allocate([heads, 2, headDim]),
      await engine.allocate([heads, 2, headDim]),
    ]
    const tokens: Float32Array[] = []
    const asked: Promise<unknown>[] = []
    const answers: Promise<number[]>[] = []
    const expected: number[][] = []
    for (let t = 0; t < 12; t++) {
      if (t === keys.dims[1]) asked.push(keys.grow(t + 3), values.grow(t + 3))
      tokens.push(token(t))
      answers.push(step(keys, values, [...tokens]))
      expected.push(attend(tokens))
    }
    const held = keys.read(11, 12)
    const gone = keys.dispose()
    const found = await Promise.all(answers)
    found.forEach((y, t) => y.forEach((value, i) => expect(value).toBeCloseTo(expected[t][i], 5)))
    expect((await held).data).toEqual(tokens[11])
    await Promise.all([...asked, gone, values.dispose()])
  })

  test('holds what writes, inserts and growths put there, as a plain array does', async () => {
    const { rows, columns } = zeroCopy
    const change = fc.record({
      kind: fc.constantFrom('write', 'insert', 'grow' as const),
      at: fc.nat(9),
      n: fc.nat(60),
    })
    const property = fc.asyncProperty(fc.array(change, { maxLength: 8 }), async (changes) => {
      const resident = await engine.allocate([rows, 4, columns])
      let capacity = 4
      const plain = Array.from({ length: rows }, () => Array<number>(capacity * columns).fill(0))
      for (const [i, { kind: what, at, n }] of changes.entries()) {
        if (what === 'grow' || at + n > capacity) {
          capacity = Math.max(capacity, at + n)
          for (const row of plain)
            row.push(...Array<number>(Math.max(0, capacity * columns - row.length)).fill(0))
          await resident.grow(capacity)
        }
        if (what === 'grow') continue
        const value = ramp(n, 100 * i)
        plain.forEach((row, r) => {
          const part = (value.data as Float32Array).subarray(r * n * columns, (r + 1) * n * columns)
          row.splice(at * columns, part.length, ...part)
        })
        if (what === 'write') await resident.write(at, value)
        else await echoing.run({ x: value }, { fetches: [], inserts: [{ output: 'y', into: resident, at }] })
      }
      const { dims, data } = await resident.read(0, capacity)
      expect(dims).toEqual([rows, capacity, columns])
      expect(Array.from(data as Float32Array)).toEqual(plain.flat())
      await resident.dispose()
    })
    await fc.assert(property, { numRuns: 30 })
  })

  test('a run reads a resident as a feed, and a part of it can be read', async () => {
    const resident = await engine.allocate([2, 5, 3])
    await resident.write(1, ramp(2))
    const { y } = await echoing.run({}, { residents: { x: resident }, fetches: ['y'] })
    expect(y).toEqual(await resident.read(0, 5))
    expect(await resident.read(1, 3)).toEqual(ramp(2))
    expect((await resident.read(2, 2)).dims).toEqual([2, 0, 3])
  })

  test('refuses what cannot be allocated, grown, read or written', async () => {
    for (const dims of [
      [0, 1, 1],
      [1, 0.5, 1],
      [1, 1, -1],
      [1, 2 ** 30, 2],
      [2 ** 20, 2 ** 20, 2 ** 20],
    ] as const) {
      await expect(engine.allocate(dims)).rejects.toThrow(InputError)
    }
    const resident = await engine.allocate([2, 5, 3])
    for (const capacity of [4, NaN, 5.5, 2 ** 40])
      await expect(resident.grow(capacity)).rejects.toThrow(InputError)
    expect(resident.dims).toEqual([2, 5, 3])
    for (const [from, to] of [
      [3, 2],
      [-1, 2],
      [0, 6],
      [0, 1.5],
    ])
      await expect(resident.read(from, to)).rejects.toThrow(InputError)
    await expect(resident.write(4, ramp(2))).rejects.toThrow(/resident.write[^]*0\.\.5[^]*found: \[4, 6\)/)
    await expect(resident.write(-1, ramp(1))).rejects.toThrow(InputError)
    await expect(resident.write(0, tensorOf('float32', [1, 1, 3], [1, 2, 3]))).rejects.toThrow(InputError)
    await expect(resident.write(0, tensorOf('float32', [2, 3], [1, 2, 3, 4, 5, 6]))).rejects.toThrow(
      InputError,
    )
    await expect(resident.write(0, tensorOf('float64', [2, 0, 3], []))).rejects.toThrow(/found: float64/)
    const half = { dtype: 'float16', dims: [2, 1, 3], data: new Uint16Array(6) } as const
    await expect(resident.write(0, half)).rejects.toThrow(InputError)
    await expect(resident.write(0, { ...ramp(1), dims: [2, 2, 3] })).rejects.toThrow(InputError)
    expect(Array.from((await resident.read(0, 5)).data as Float32Array)).toEqual(Array(30).fill(0))
  })

  test('refuses inserts that do not fit, changes nothing, and goes on', async () => {
    const [first, second] = [await engine.allocate([2, 5, 3]), await engine.allocate([2, 5, 3])]
    const put = (output: string, into: Resident, at: number, n = 1, fetches: string[] = []) =>
      echoing.run({ x: ramp(n, 1) }, { fetches, inserts: [{ output, into, at }] })
    for (const at of [6, -1, 0.5]) await expect(put('y', first, at)).rejects.toThrow(InputError)
    await expect(put('y', first, 4, 2)).rejects.toThrow(
      /insert of y at 4[^]*n <= 1[^]*found: float32 \[2, 2, 3\]/,
    )
    await expect(put('w', first, 0)).rejects.toThrow(/found: float64/)
    await expect(put('nothing', first, 0)).rejects.toThrow(InputError)
    await expect(put('y', first, 0, 1, ['y'])).rejects.toThrow(/not also fetched/)
    await expect(put('y', await engine.allocate([3, 5, 2]), 0)).rejects.toThrow(InputError)
    const both = [
      { output: 'y', into: first, at: 0 },
      { output: 'w', into: second, at: 0 },
    ]
    await expect(echoing.run({ x: ramp(1, 1) }, { inserts: both })).rejects.toThrow(InputError)
    expect(Array.from((await first.read(0, 5)).data as Float32Array)).toEqual(Array(30).fill(0))
    expect(Object.keys(await put('y', first, 4, 1, ['w']))).toEqual(['w'])
    expect(await first.read(4, 5)).toEqual(ramp(1, 1))
  })

  test('takes feeds and residents together for the inputs, each once', async () => {
    const keys = await engine.allocate([heads, 2, headDim])
    const x = tensorOf('float32', [heads, 1, headDim], token(1))
    const feeds = { x, mask: mask(0, 2) }
    await expect(session.run(feeds, { residents: { keys } })).rejects.toThrow(/session feeds and residents/)
    const values = keys
    await expect(session.run({ ...feeds, keys: x }, { residents: { keys, values } })).rejects.toThrow(
      InputError,
    )
    expect((await session.run(feeds, { residents: { values, keys } })).y.dims).toEqual([heads, 1, headDim])
    const narrow = await engine.allocate([heads, 2, headDim + 1])
    await expect(session.run(feeds, { residents: { keys: narrow, values } })).rejects.toThrow(EngineError)
    await expect(echoing.run({ x: ramp(1) }, { fetches: [] })).rejects.toThrow(InputError)
  })

  test("refuses residents that are another engine's or disposed of", async () => {
    const [mine, foreign] = [await engine.allocate([2, 1, 3]), await other.allocate([2, 1, 3])]
    const into = (resident: Resident) => [{ output: 'y', into: resident, at: 0 }]
    await expect(echoing.run({}, { residents: { x: foreign } })).rejects.toThrow(/that this engine allocated/)
    await expect(echoing.run({ x: ramp(1) }, { inserts: into(foreign) })).rejects.toThrow(InputError)
    await mine.dispose()
    await mine.dispose()
    await expect(echoing.run({}, { residents: { x: mine } })).rejects.toThrow(/disposed of/)
    await expect(echoing.run({ x: ramp(1) }, { inserts: into(mine) })).rejects.toThrow(InputError)
    await expect(mine.read(0, 1)).rejects.toThrow(InputError)
    await expect(mine.write(0, ramp(1))).rejects.toThrow(InputError)
    await expect(mine.grow(2)).rejects.toThrow(InputError)
    expect((await echoing.run({ x: ramp(1) })).y).toEqual(ramp(1))
  })

  test('a closed engine has lost its residents', async () => {
    const brief = await openEngine(kind)
    const resident = await brief.allocate([2, 1, 3])
    await brief.close()
    await expect(resident.read(0, 1)).rejects.toThrow(EngineError)
    await resident.dispose()
  })
})

test('a worker given up on has lost its residents; the next one has its own', async () => {
  const g = new GraphBuilder('slow')
  const x = g.input('x', 'float32', [1024, 1024])
  let y = x
  for (let i = 0; i < 12; i++) y = g.tanh(g.matmul(y, x))
  g.output(y, 'y')
  const engine = await openEngine('worker')
  const resident = await engine.allocate([2, 1, 3])
  const slow = await engine.create(g.serialize())
  const big = tensorOf('float32', [1024, 1024], new Float32Array(1024 * 1024))
  await expect(slow.run({ x: big }, { timeoutSeconds: 0.02 })).rejects.toThrow(EngineError)
  await expect(resident.read(0, 1)).rejects.toThrow(/the resident is lost[^]*given up on/)
  const fresh = await engine.create(echo())
  await expect(fresh.run({}, { residents: { x: resident } })).rejects.toThrow(EngineError)
  await expect(
    fresh.run({ x: ramp(1) }, { inserts: [{ output: 'y', into: resident, at: 0 }] }),
  ).rejects.toThrow(EngineError)
  const next = await engine.allocate([2, 1, 3])
  await fresh.run({ x: ramp(1) }, { inserts: [{ output: 'y', into: next, at: 0 }] })
  expect(await next.read(0, 1)).toEqual(ramp(1))
  await resident.dispose()
  await engine.close()
})
