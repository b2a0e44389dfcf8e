import { describe, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { decodeModel } from '../../../src/core/onnx/read.ts'
import { float } from '../../../src/core/onnx/graph.ts'
import { GraphBuilder } from '../../../src/core/onnx/builder.ts'
import { gradients } from '../../../src/core/onnx/gradients.ts'
import { tensorOf } from '../../../src/core/onnx/tensor.ts'
import { load, runGraph, values } from './support.ts'

describe('shapes', () => {
  test('named dimensions pass through and combine', async () => {
    const g = new GraphBuilder('named')
    const past = g.input('past', 'float32', ['P', 4])
    const fresh = g.input('fresh', 'float32', ['S', 4])
    const all = g.concat([past, fresh], 0)
    expect(all.dims).toEqual(['P+S', 4])
    expect(g.reshape(fresh, ['S', 2, 2]).dims).toEqual(['S', 2, 2])
    expect(g.reshape(fresh, [-1]).dims).toEqual(['S*4'])
    expect(g.reshape(g.reshape(fresh, [-1]), ['S', 4]).dims).toEqual(['S', 4])
    const scores = g.gemm(fresh, all, null, { transB: true })
    expect(scores.dims).toEqual(['S', 'P+S'])
    g.output(g.matmul(g.softmax(scores), all), 'mixed')
    const feed = (rows: number) =>
      tensorOf(
        'float32',
        [rows, 4],
        Array.from({ length: rows * 4 }, (_, i) => i / 10),
      )
    const { mixed } = await runGraph(g, { past: feed(3), fresh: feed(2) })
    expect(mixed.dims).toEqual([2, 4])
  })

  test('a batch of unknown size trains too', async () => {
    const g = new GraphBuilder('batch')
    const x = g.input('x', 'float32', ['N', 3])
    const w = g.input('w', 'float32', [3, 2])
    const b = g.input('b', 'float32', [2])
    const loss = g.reduceSum(g.square(g.relu(g.gemm(x, w, b))))
    gradients(g, loss, [x, w, b]).forEach((gradient, i) => g.output(gradient, `d${i}`))
    const data = (dims: number[], start: number) =>
      tensorOf(
        'float32',
        dims,
        Array.from({ length: dims.reduce((a, c) => a * c, 1) }, (_, i) => start + 0.1 * i),
      )
    const out = await runGraph(g, { x: data([2, 3], 0.1), w: data([3, 2], -0.2), b: data([2], 0.1) })
    expect([out.d0.dims, out.d1.dims, out.d2.dims]).toEqual([[2, 3], [3, 2], [2]])
    const y = [0, 1].flatMap((row) =>
      [0, 1].map(
        (col) =>
          0.1 +
          0.1 * col +
          [0, 1, 2].reduce((sum, k) => sum + (0.1 + 0.1 * (3 * row + k)) * (-0.2 + 0.1 * (2 * k + col)), 0),
      ),
    )
    const db = [0, 1].map((col) => [0, 1].reduce((sum, row) => sum + 2 * Math.max(0, y[2 * row + col]), 0))
    values(out.d2).forEach((value, i) => expect(value).toBeCloseTo(db[i], 5))
  })
})

describe('mistakes are reported where they are made', () => {
  const g = new GraphBuilder('wrong')
  const a = g.input('a', 'float32', [2, 3])
  const b = g.input('b', 'float32', [4, 5])
  const n = g.input('n', 'int64', [2])
  const attempts: [string, RegExp, () => unknown][] = [
    ['matmul', /MatMul[^]*float32\[2, 3\], float32\[4, 5\]/, () => g.matmul(a, b)],
    ['gemm', /Gemm[^]*\[2, 3\][^]*\[4, 5\]/, () => g.gemm(a, b)],
    [
      'gemm bias',
      /a bias that broadcasts to \[2, 2\]/,
      () => g.gemm(a, a, g.constant([1, 2, 3]), { transB: true }),
    ],
    ['add', /Add[^]*\[2, 3\][^]*\[4, 5\]/, () => g.add(a, b)],
    ['types', /one element type/, () => g.add(a, n)],
    ['reshape', /as many elements as \[2, 3\][^]*\[4, 2\]/, () => g.reshape(a, [4, 2])],
    ['reshape -1', /as many elements/, () => g.reshape(a, [4, -1])],
    ['transpose', /Transpose[^]*\[0, 0\]/, () => g.transpose(a, [0, 0])],
    ['concat', /Concat[^]*axis 1 only/, () => g.concat([a, b], 1)],
    ['split', /add up to 3/, () => g.split(a, [1, 1], 1)],
    ['axis', /ReduceSum[^]*axes in -2\.\.1/, () => g.reduceSum(a, [2])],
    ['where', /bool condition/, () => g.where(a, a, a)],
    ['gather', /int64 or int32 indices/, () => g.gather(a, b)],
    ['expand', /broadcasts/, () => g.expand(a, [2, 4])],
    ['layerNorm', /broadcast to \[3\]/, () => g.layerNorm(a, b, null)],
    ['a float as integer', /float\(value\)/, () => g.node('Softmax', [a], { axis: 0.5 })],
    ['an unknown operator', /shape rule[^]*Conv/, () => g.node('Conv', [a, b])],
    ['a value of another graph', /of another/, () => new GraphBuilder('other').tanh(a)],
    ['a name twice', /not used yet/, () => g.input('a', 'float32', [1])],
    ['no output', /at least one output/, () => g.serialize()],
    ['a loss with many elements', /one floating-point element/, () => gradients(g, a, [a])],
    [
      'no gradient',
      /gradient of Trilu[^]*an operator with a gradient/,
      () => gradients(g, g.reduceSum(g.node('Trilu', [a])[0]), [a]),
    ],
  ]
  test.each(attempts)('%s', (_, message, attempt) => {
    expect(attempt).toThrow(InputError)
    expect(attempt).toThrow(message)
  })
})

describe('the finished model', () => {
  test('outputs carry their names, whatever they are', async () => {
    const g = new GraphBuilder('names')
    const x = g.input('x', 'float32', [2])
    const y = g.tanh(x)
    g.output(y, 'y')
    g.output(y, 'again')
    g.output(x, 'copy')
    g.output(g.constant([5, 6]), 'five')
    const out = await runGraph(g, { x: tensorOf('float32', [2], [0, 1]) })
    expect(values(out.y)).toEqual(values(out.again))
    expect(values(out.copy)).toEqual([0, 1])
    expect(values(out.five)).toEqual([5, 6])
  })

  test('what no output needs is left out; equal constants are stored once', () => {
    const g = new GraphBuilder('lean')
    const x = g.input('x', 'float32', [2])
    g.exp(g.mul(x, 3))
    g.output(g.add(g.mul(x, 2), g.mul(g.tanh(x), 2)), 'y')
    const { graph } = g.toModel()
    expect(graph.nodes.map((node) => node.opType)).toEqual(['Mul', 'Tanh', 'Mul', 'Add'])
    expect(graph.initializers).toHaveLength(1)
  })

  test('an operator of another domain, with its outputs declared', async () => {
    const g = new GraphBuilder('contrib', { opsets: { 'com.microsoft': 1 } })
    const x = g.input('x', 'float32', [3])
    const [y] = g.node(
      'QuickGelu',
      [x],
      { alpha: float(1) },
      { domain: 'com.microsoft', outputs: [{ dtype: 'float32', dims: [3] }] },
    )
    g.output(y, 'y')
    const out = await runGraph(g, { x: tensorOf('float32', [3], [-1, 0, 2]) })
    values(out.y).forEach((value, i) =>
      expect(value).toBeCloseTo([-1, 0, 2][i] / (1 + Math.exp(-[-1, 0, 2][i])), 5),
    )
  })

  test('a subgraph survives writing and reading, and runs', async () => {
    const branch = (name: string, build: (inner: GraphBuilder) => void) => {
      const inner = new GraphBuilder(name)
      build(inner)
      return { type: 'graph', value: inner.toModel().graph } as const
    }
    const g = new GraphBuilder('branches')
    const flag = g.input('flag', 'bool', [])
    const then = branch('then', (inner) => inner.output(inner.exp(inner.constant([1, 2])), 'thenOut'))
    const otherwise = branch('else', (inner) => inner.output(inner.constant([7, 8]), 'elseOut'))
    const [y] = g.node(
      'If',
      [flag],
      { then_branch: then, else_branch: otherwise },
      { outputs: [{ dtype: 'float32', dims: [2] }] },
    )
    g.output(y, 'y')
    expect(decodeModel(g.serialize())).toEqual(g.toModel())
    const session = await load(g.serialize())
    expect(
      values((await session.run({ flag: { dtype: 'bool', dims: [], data: new Uint8Array([0]) } })).y),
    ).toEqual([7, 8])
    expect(
      values((await session.run({ flag: { dtype: 'bool', dims: [], data: new Uint8Array([1]) } })).y)[0],
    ).toBeCloseTo(Math.E, 5)
  })
})
