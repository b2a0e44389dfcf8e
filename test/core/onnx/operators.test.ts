import { describe, expect, test } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import type { DType, Tensor } from '../../../src/core/onnx/tensor.ts'
import type { GraphBuilder as Builder } from '../../../src/core/onnx/builder.ts'
import type { Handle } from '../../../src/core/onnx/graph.ts'
import { GraphBuilder } from '../../../src/core/onnx/builder.ts'
import { gradients } from '../../../src/core/onnx/gradients.ts'
import { tensorOf } from '../../../src/core/onnx/tensor.ts'
import { load, values, weightedSum } from './support.ts'

interface Case {
  name: string
  shapes: number[][]
  /** Inputs lie in these bounds; default [-1.5, 1.5]. */
  range?: [number, number]
  /** ONNX Runtime has no float64 kernel for it. */
  float32?: true
  build: (g: Builder, ...x: Handle[]) => Handle
}

const positive: [number, number] = [0.4, 2]
const unaries = (g: Builder): Record<string, (x: Handle) => Handle> => ({
  neg: (x) => g.neg(x),
  abs: (x) => g.abs(x),
  exp: (x) => g.exp(x),
  tanh: (x) => g.tanh(x),
  relu: (x) => g.relu(x),
  sigmoid: (x) => g.sigmoid(x),
  square: (x) => g.square(x),
  sin: (x) => g.sin(x),
  silu: (x) => g.silu(x),
  pow3: (x) => g.pow(x, 3),
  pow2: (x) => g.pow(x, 2),
  identity: (x) => g.identity(x),
})
const unaryNames = [
  'neg',
  'abs',
  'exp',
  'tanh',
  'relu',
  'sigmoid',
  'square',
  'sin',
  'silu',
  'pow3',
  'pow2',
  'identity',
]

const cases: Case[] = [
  ...unaryNames.map((name): Case => ({ name, shapes: [[2, 3]], build: (g, x) => unaries(g)[name](x) })),
  { name: 'cos', shapes: [[4]], float32: true, build: (g, x) => g.cos(x) },
  { name: 'log', shapes: [[2, 3]], range: positive, build: (g, x) => g.log(x) },
  { name: 'sqrt', shapes: [[2, 3]], range: positive, build: (g, x) => g.sqrt(x) },
  { name: 'reciprocal', shapes: [[2, 3]], range: positive, build: (g, x) => g.reciprocal(x) },
  { name: 'erf', shapes: [[2, 3]], float32: true, build: (g, x) => g.erf(x) },
  { name: 'softplus', shapes: [[2, 3]], float32: true, build: (g, x) => g.softplus(x) },
  { name: 'gelu', shapes: [[2, 3]], float32: true, build: (g, x) => g.gelu(x) },
  { name: 'gelu tanh', shapes: [[2, 3]], float32: true, build: (g, x) => g.gelu(x, 'tanh') },
  { name: 'add, broadcast', shapes: [[2, 3], [3]], build: (g, a, b) => g.add(a, b) },
  {
    name: 'sub, broadcast both',
    shapes: [
      [2, 1],
      [1, 3],
    ],
    build: (g, a, b) => g.sub(a, b),
  },
  {
    name: 'mul, broadcast',
    shapes: [
      [2, 1, 3],
      [4, 1],
    ],
    build: (g, a, b) => g.mul(a, b),
  },
  { name: 'mul, scalar', shapes: [[2, 3], []], build: (g, a, b) => g.mul(a, b) },
  {
    name: 'div, broadcast',
    shapes: [
      [2, 3],
      [2, 1],
    ],
    range: positive,
    build: (g, a, b) => g.div(a, b),
  },
  { name: 'pow, both', shapes: [[2, 3], [3]], range: positive, build: (g, a, b) => g.pow(a, b) },
  { name: 'sum of three', shapes: [[2, 3], [3], [1, 1]], build: (g, ...x) => g.addAll(x) },
  { name: 'min', shapes: [[2, 3], [3]], build: (g, a, b) => g.min(a, b) },
  {
    name: 'max',
    shapes: [
      [2, 3],
      [2, 1],
    ],
    build: (g, a, b) => g.max(a, b),
  },
  { name: 'clip', shapes: [[3, 3]], build: (g, x) => g.clip(x, -0.5, 0.6) },
  {
    name: 'clip, bounds',
    shapes: [[3, 3], [], []],
    build: (g, x, a, b) => g.clip(x, g.sub(-0.5, g.square(a)), g.square(b)),
  },
  { name: 'where', shapes: [[2, 3], [3]], build: (g, a, b) => g.where(g.greater(a, 0.1), a, b) },
  {
    name: 'a value used thrice',
    shapes: [[3]],
    build: (g, x) => g.add(g.mul(x, g.tanh(x)), g.sub(x, g.mul(x, x))),
  },
  {
    name: 'matmul',
    shapes: [
      [2, 3],
      [3, 4],
    ],
    build: (g, a, b) => g.matmul(a, b),
  },
  {
    name: 'matmul, stacked',
    shapes: [
      [2, 3, 2],
      [2, 2, 3],
    ],
    build: (g, a, b) => g.matmul(a, b),
  },
  {
    name: 'matmul, broadcast stack',
    shapes: [
      [2, 1, 2, 3],
      [2, 3, 2],
    ],
    build: (g, a, b) => g.matmul(a, b),
  },
  {
    name: 'matmul, one matrix',
    shapes: [
      [2, 3, 2],
      [2, 3],
    ],
    build: (g, a, b) => g.matmul(a, b),
  },
  { name: 'matmul, vectors', shapes: [[3], [3]], build: (g, a, b) => g.matmul(a, b) },
  { name: 'matmul, vector left', shapes: [[3], [2, 3, 2]], build: (g, a, b) => g.matmul(a, b) },
  { name: 'matmul, vector right', shapes: [[2, 2, 3], [3]], build: (g, a, b) => g.matmul(a, b) },
  ...[0, 1, 2, 3].map((bits): Case => {
    const [transA, transB] = [(bits & 1) === 1, (bits & 2) === 2]
    return {
      name: `gemm ${transA} ${transB}`,
      shapes: [transA ? [3, 2] : [2, 3], transB ? [4, 3] : [3, 4], bits === 3 ? [2, 1] : [4]],
      build: (g, a, b, c) => g.gemm(a, b, c, { transA, transB, alpha: 0.7, beta: 1.3 }),
    }
  }),
  { name: 'reshape', shapes: [[2, 6]], build: (g, x) => g.reshape(x, [3, -1]) },
  {
    name: 'unsqueeze, squeeze',
    shapes: [[2, 1, 3]],
    build: (g, x) => g.squeeze(g.unsqueeze(x, [0, -1]), [2]),
  },
  { name: 'transpose', shapes: [[2, 3, 4]], build: (g, x) => g.transpose(x, [2, 0, 1]) },
  { name: 'transpose, reversed', shapes: [[2, 3]], build: (g, x) => g.transpose(x) },
  {
    name: 'concat',
    shapes: [
      [2, 1],
      [2, 3],
      [2, 2],
    ],
    build: (g, ...x) => g.concat(x, -1),
  },
  { name: 'slice', shapes: [[4, 5]], build: (g, x) => g.slice(g.slice(x, 0, -3, -1), 1, 1, 4) },
  {
    name: 'slice, steps',
    shapes: [[7, 3]],
    build: (g, x) => g.slice(g.slice(x, 0, 1, 7, 2), 1, -1, -9007199254740991, -1),
  },
  {
    name: 'split, one part unused',
    shapes: [[2, 6]],
    build: (g, x) => {
      const [a, , c] = g.split(x, [2, 1, 3], 1)
      return g.concat([c, a], 1)
    },
  },
  { name: 'expand', shapes: [[2, 1]], build: (g, x) => g.expand(x, [3, 2, 4]) },
  { name: 'pad', shapes: [[2, 3]], build: (g, x) => g.pad(x, 1, 2, 1) },
  {
    name: 'gather, repeated',
    shapes: [[4, 3]],
    build: (g, x) => g.gather(x, g.constant([2, 0, 2, -1], 'int64', [2, 2])),
  },
  { name: 'gather, axis 1', shapes: [[2, 4]], build: (g, x) => g.gather(x, g.constant(3, 'int64'), 1) },
  {
    name: 'gatherElements',
    shapes: [[3, 4]],
    build: (g, x) => g.gatherElements(x, g.constant([1, 1, 3, 0, 2, 2], 'int64', [3, 2]), 1),
  },
  { name: 'reduceSum', shapes: [[2, 3, 2]], build: (g, x) => g.reduceSum(x, [-1, 0]) },
  { name: 'reduceSum, all', shapes: [[2, 3]], build: (g, x) => g.square(g.reduceSum(x)) },
  { name: 'reduceMean', shapes: [[2, 3]], build: (g, x) => g.mul(x, g.reduceMean(x, [1], true)) },
  { name: 'reduceMax', shapes: [[2, 5]], build: (g, x) => g.reduceMax(x, [1]) },
  { name: 'reduceMin', shapes: [[2, 5]], build: (g, x) => g.reduceMin(x, [0], true) },
  { name: 'reduceSumSquare', shapes: [[2, 3]], build: (g, x) => g.reduceSumSquare(x, [0]) },
  { name: 'softmax', shapes: [[2, 4]], build: (g, x) => g.softmax(x) },
  { name: 'softmax, axis 0', shapes: [[3, 2]], build: (g, x) => g.softmax(x, 0) },
  { name: 'logSoftmax', shapes: [[2, 4]], build: (g, x) => g.logSoftmax(x, 1) },
  { name: 'layerNorm', shapes: [[2, 5], [5], [5]], build: (g, x, s, b) => g.layerNorm(x, s, b) },
  { name: 'rmsNorm', shapes: [[2, 5], [5]], build: (g, x, s) => g.rmsNorm(x, s) },
  { name: 'cumSum', shapes: [[2, 4]], build: (g, x) => g.cumSum(x, 1, { exclusive: true }) },
  { name: 'mean of a broadcast', shapes: [[3]], build: (g, x) => g.reduceMean(g.expand(x, [4, 3])) },
  {
    name: 'cast',
    shapes: [[3]],
    float32: true,
    build: (g, x) => g.cast(g.square(g.cast(x, 'float64')), 'float32'),
  },
]

describe('each operator: shapes as ONNX Runtime computes them, gradients as finite differences', () => {
  test.each(cases)('$name', async ({ name, shapes, range = [-1.5, 1.5], float32, build }) => {
    const dtype: DType = float32 ? 'float32' : 'float64'
    const g = new GraphBuilder('operators')
    const inputs = shapes.map((dims, i) => g.input(`x${i}`, dtype, dims))
    const y = build(g, ...inputs)
    const loss = weightedSum(g, y)
    gradients(g, loss, inputs).forEach((gradient, i) => g.output(gradient, `d${i}`))
    g.output(y, 'y')
    g.output(loss, 'loss')
    const stream = randomStream(7, name)
    const feeds = Object.fromEntries(
      shapes.map((dims, i) => {
        const size = dims.reduce((product, dim) => product * dim, 1)
        const draws = Array.from({ length: size }, () => range[0] + (range[1] - range[0]) * stream.uniform())
        return [`x${i}`, tensorOf(dtype, dims, draws)] as [string, Tensor]
      }),
    )
    const session = await load(g.serialize())
    const result = await session.run(feeds)
    expect(result.y.dims).toEqual(y.dims)
    const step = float32 ? 4e-3 : 1e-5
    for (const [i, dims] of shapes.entries()) {
      expect(result[`d${i}`].dims).toEqual(dims)
      const found = values(result[`d${i}`])
      const data = feeds[`x${i}`].data as Float64Array
      for (let k = 0; k < data.length; k++) {
        const at = data[k]
        data[k] = at + step
        const [above] = values((await session.run(feeds, { fetches: ['loss'] })).loss)
        data[k] = at - step
        const [below] = values((await session.run(feeds, { fetches: ['loss'] })).loss)
        data[k] = at
        const expected = (above - below) / (2 * step)
        const tolerance = (float32 ? 2e-3 : 2e-6) * Math.max(1, Math.abs(expected))
        expect(Math.abs(found[k] - expected), `d${i}[${k}]: ${found[k]} against ${expected}`).toBeLessThan(
          tolerance,
        )
      }
    }
    await session.dispose()
  })
})
