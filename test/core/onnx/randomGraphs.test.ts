import * as tf from '@tensorflow/tfjs'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import type { GraphBuilder as Builder } from '../../../src/core/onnx/builder.ts'
import type { Handle } from '../../../src/core/onnx/graph.ts'
import { GraphBuilder } from '../../../src/core/onnx/builder.ts'
import { gradients } from '../../../src/core/onnx/gradients.ts'
import { tensorOf } from '../../../src/core/onnx/tensor.ts'
import { runGraph, values } from './support.ts'

/**
 * Random programs over matrices [rows, columns], run twice: as an ONNX graph with our gradients, and by
 * TensorFlow.js with its own. Each step takes values made before it, so values are shared at will.
 */
const rows = 3
const columns = 4
const ramp = Array.from({ length: rows * columns }, (_, i) => (i * 0.37) % 1.1)
const positions = [1, 3, 0, 2, 2, 1, 3, 3, 0, 1, 1, 2]

interface Step {
  kind: number
  a: number
  b: number
}

interface Kind {
  name: string
  ours: (g: Builder, a: Handle, b: Handle) => Handle
  theirs: (a: tf.Tensor2D, b: tf.Tensor2D) => tf.Tensor
}

/** A copy outside TensorFlow.js's tape. */
const detached = (a: tf.Tensor2D): tf.Tensor2D => tf.tensor2d(a.dataSync(), [rows, columns])

const kinds: Kind[] = [
  { name: 'add', ours: (g, a, b) => g.add(a, b), theirs: (a, b) => tf.add(a, b) },
  { name: 'sub', ours: (g, a, b) => g.sub(a, b), theirs: (a, b) => tf.sub(a, b) },
  { name: 'mul', ours: (g, a, b) => g.mul(g.tanh(a), b), theirs: (a, b) => tf.mul(tf.tanh(a), b) },
  {
    name: 'div',
    ours: (g, a, b) => g.div(a, g.add(g.square(b), 1)),
    theirs: (a, b) => tf.div(a, tf.add(tf.square(b), 1)),
  },
  { name: 'min', ours: (g, a, b) => g.min(a, b), theirs: (a, b) => tf.minimum(a, b) },
  { name: 'max', ours: (g, a, b) => g.max(a, b), theirs: (a, b) => tf.maximum(a, b) },
  { name: 'exp', ours: (g, a) => g.exp(g.neg(g.abs(a))), theirs: (a) => tf.exp(tf.neg(tf.abs(a))) },
  {
    name: 'log',
    ours: (g, a) => g.log(g.add(g.square(a), 0.5)),
    theirs: (a) => tf.log(tf.add(tf.square(a), 0.5)),
  },
  {
    name: 'sqrt',
    ours: (g, a) => g.sqrt(g.add(g.square(a), 0.5)),
    theirs: (a) => tf.sqrt(tf.add(tf.square(a), 0.5)),
  },
  { name: 'sigmoid', ours: (g, a) => g.sigmoid(a), theirs: (a) => tf.sigmoid(a) },
  { name: 'softplus', ours: (g, a) => g.softplus(a), theirs: (a) => tf.softplus(a) },
  { name: 'relu', ours: (g, a) => g.relu(a), theirs: (a) => tf.relu(a) },
  { name: 'clip', ours: (g, a) => g.clip(a, -0.7, 0.8), theirs: (a) => tf.clipByValue(a, -0.7, 0.8) },
  {
    name: 'where',
    ours: (g, a, b) => g.where(g.less(a, b), g.mul(a, 2), b),
    theirs: (a, b) => tf.where(tf.less(detached(a), detached(b)), tf.mul(a, 2), b),
  },
  { name: 'softmax', ours: (g, a) => g.softmax(a), theirs: (a) => tf.softmax(a) },
  { name: 'logSoftmax', ours: (g, a) => g.logSoftmax(a), theirs: (a) => tf.logSoftmax(a) },
  {
    name: 'stop',
    ours: (g, a, b) => g.add(g.stopGradient(a), b),
    theirs: (a, b) => tf.add(detached(a), b),
  },
  {
    name: 'attention',
    ours: (g, a, b) => g.matmul(g.softmax(g.gemm(a, b, null, { transB: true })), b),
    theirs: (a, b) => tf.matMul(tf.softmax(tf.matMul(a, b, false, true)), b),
  },
  {
    name: 'gemm with bias',
    ours: (g, a, b) => g.tanh(g.gemm(g.gemm(a, a, null, { transB: true }), b, g.reduceMean(b, [0]))),
    theirs: (a, b) => tf.tanh(tf.add(tf.matMul(tf.matMul(a, a, false, true), b), tf.mean(b, 0))),
  },
  {
    name: 'sum over rows, broadcast back',
    ours: (g, a, b) => g.sub(g.reduceSum(a, [0], true), b),
    theirs: (a, b) => tf.sub(tf.sum(a, 0, true), b),
  },
  {
    name: 'largest of each row',
    ours: (g, a, b) =>
      g.mul(b, g.reduceMax(g.add(a, g.constant(ramp, 'float32', [rows, columns])), [1], true)),
    theirs: (a, b) => tf.mul(b, tf.max(tf.add(a, tf.tensor2d(ramp, [rows, columns])), 1, true)),
  },
  {
    name: 'split and concat',
    ours: (g, a, b) => {
      const [left, right] = g.split(a, [1, 3], 1)
      return g.concat([g.mul(right, g.slice(b, 1, 0, 3)), left], 1)
    },
    theirs: (a, b) => {
      const [left, right] = tf.split(a, [1, 3], 1)
      return tf.concat([tf.mul(right, tf.slice(b, [0, 0], [rows, 3])), left], 1)
    },
  },
  {
    name: 'reshape and transpose',
    ours: (g, a, b) => g.mul(g.reshape(g.transpose(a), [rows, columns]), g.tanh(b)),
    theirs: (a, b) => tf.mul(tf.reshape(tf.transpose(a), [rows, columns]), tf.tanh(b)),
  },
  {
    name: 'gather rows',
    ours: (g, a) => g.gather(a, g.constant([2, 0, 2], 'int64')),
    theirs: (a) => tf.gather(a, tf.tensor1d([2, 0, 2], 'int32')),
  },
  {
    name: 'gatherElements',
    ours: (g, a) => g.gatherElements(a, g.constant(positions, 'int64', [rows, columns])),
    theirs: (a) => {
      const picked = tf.oneHot(tf.tensor2d(positions, [rows, columns], 'int32'), columns)
      return tf.sum(tf.mul(picked, tf.reshape(a, [rows, 1, columns])), 2)
    },
  },
]

const dims = [
  [rows, columns],
  [rows, columns],
  [1, columns],
  [rows, 1],
]

beforeAll(() => tf.setBackend('cpu'))
afterAll(() => tf.dispose())

test('gradients of random graphs equal those of TensorFlow.js', async () => {
  const step = fc.record({ kind: fc.nat(kinds.length - 1), a: fc.nat(99), b: fc.nat(99) })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), fc.nat(1e6), async (steps, seed) => {
      const feeds = inputsOf(seed)
      const ours = await runOurs(steps, feeds)
      const theirs = runTheirs(steps, feeds)
      expect(ours.length).toBe(theirs.length)
      ours.forEach((found, i) => {
        const scale = Math.max(1, ...theirs[i].map(Math.abs))
        const error = Math.max(...found.map((value, k) => Math.abs(value - theirs[i][k])))
        expect(
          error / scale,
          `value ${i} of ${steps.map(({ kind }) => kinds[kind].name).join(', ')}`,
        ).toBeLessThan(1e-4)
      })
    }),
    { numRuns: 150 },
  )
})

test('every kind of step, alone', async () => {
  for (const [kind, { name }] of kinds.entries()) {
    const steps = [{ kind, a: 0, b: 1 }]
    const feeds = inputsOf(kind)
    const [ours, theirs] = [await runOurs(steps, feeds), runTheirs(steps, feeds)]
    ours.flat().forEach((value, k) => expect(Math.abs(value - theirs.flat()[k]), name).toBeLessThan(1e-4))
  }
})

function inputsOf(seed: number): number[][] {
  const stream = randomStream(seed, 'random graphs')
  return dims.map(([m, n]) => Array.from({ length: m * n }, () => stream.normal()))
}

/** The output (as a loss, then whole) and the gradient of each input. */
async function runOurs(steps: readonly Step[], feeds: readonly number[][]): Promise<number[][]> {
  const g = new GraphBuilder('random')
  const inputs = dims.map((shape, i) => g.input(`x${i}`, 'float32', shape))
  const whole = g.constant(0, 'float32')
  const pool = inputs.map((x) => g.add(x, g.expand(whole, [rows, columns])))
  for (const { kind, a, b } of steps)
    pool.push(kinds[kind].ours(g, pool[a % pool.length], pool[b % pool.length]))
  const last = pool.at(-1)!
  // Every input takes part, because TensorFlow.js refuses one that does not.
  const all = g.mul(g.reduceMean(g.addAll(pool.slice(0, dims.length))), 0.1)
  const loss = g.add(g.reduceMean(g.mul(last, g.constant(ramp, 'float32', [rows, columns]))), all)
  g.output(loss, 'loss')
  gradients(g, loss, inputs).forEach((gradient, i) => g.output(gradient, `d${i}`))
  const result = await runGraph(
    g,
    Object.fromEntries(inputs.map((x, i) => [x.name, tensorOf('float32', dims[i], feeds[i])])),
  )
  return [values(result.loss), ...inputs.map((_, i) => values(result[`d${i}`]))]
}

function runTheirs(steps: readonly Step[], feeds: readonly number[][]): number[][] {
  return tf.tidy(() => {
    const forward = (...inputs: tf.Tensor[]): tf.Scalar => {
      const pool = inputs.map((x) => tf.add<tf.Tensor2D>(x, tf.zeros([rows, columns])))
      for (const { kind, a, b } of steps) {
        pool.push(kinds[kind].theirs(pool[a % pool.length], pool[b % pool.length]) as tf.Tensor2D)
      }
      const all = tf.mul(tf.mean(tf.addN(pool.slice(0, dims.length))), 0.1)
      return tf.add(tf.mean(tf.mul(pool.at(-1)!, tf.tensor2d(ramp, [rows, columns]))), all)
    }
    const inputs = feeds.map((values, i) => tf.tensor2d(values, dims[i] as [number, number]))
    const { value, grads } = tf.valueAndGrads(forward)(inputs)
    return [Array.from(value.dataSync()), ...grads.map((gradient) => Array.from(gradient.dataSync()))]
  })
}
