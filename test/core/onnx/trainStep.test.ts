import * as tf from '@tensorflow/tfjs'
import { beforeAll, expect, test } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import type { Handle } from '../../../src/core/onnx/graph.ts'
import type { Tensor } from '../../../src/core/onnx/tensor.ts'
import { adamStep, clipByGlobalNorm } from '../../../src/core/onnx/optimizer.ts'
import { GraphBuilder } from '../../../src/core/onnx/builder.ts'
import { gradients } from '../../../src/core/onnx/gradients.ts'
import { layoutParameters, parameterOf, parameterViews } from '../../../src/core/onnx/parameters.ts'
import { scalarOf, tensorOf, zeros } from '../../../src/core/onnx/tensor.ts'
import { load, values } from './support.ts'

/** A whole PPO minibatch step (actor, two critics, clipped objective, entropy, clip, Adam) as one static graph. */
const batch = 16
const [observation, hidden, actions] = [6, 8, 5]
const nets = ['actor', 'performance', 'stability']
const layout = layoutParameters(
  nets.flatMap((net) => [
    { name: `${net}.w0`, dims: [observation, hidden] },
    { name: `${net}.b0`, dims: [hidden] },
    { name: `${net}.w1`, dims: [hidden, net === 'actor' ? actions : 1] },
    { name: `${net}.b1`, dims: [net === 'actor' ? actions : 1] },
  ]),
)
const rate = 3e-3
const maxNorm = 0.5

function trainGraph(): GraphBuilder {
  const g = new GraphBuilder('train')
  const [parameters, firstMoment, secondMoment] = ['p', 'm', 'v'].map((name) =>
    g.input(name, 'float32', [layout.size]),
  )
  const [beta1Power, beta2Power] = ['beta1', 'beta2'].map((name) => g.input(name, 'float64', []))
  const x = g.input('x', 'float32', [batch, observation])
  const action = g.input('action', 'int64', [batch, 1])
  const [old, advantage, return1, return2] = ['old', 'advantage', 'return1', 'return2'].map((name) =>
    g.input(name, 'float32', [batch, 1]),
  )
  const w = parameterViews(g, parameters, layout)
  const net = (name: string): Handle =>
    g.gemm(g.tanh(g.gemm(x, w[`${name}.w0`], w[`${name}.b0`])), w[`${name}.w1`], w[`${name}.b1`])
  const logProbabilities = g.logSoftmax(net('actor'))
  const ratio = g.exp(g.sub(g.gatherElements(logProbabilities, action, 1), old))
  const gain = g.reduceMean(g.min(g.mul(ratio, advantage), g.mul(g.clip(ratio, 0.8, 1.2), advantage)))
  const negativeEntropy = g.reduceMean(g.reduceSum(g.mul(g.exp(logProbabilities), logProbabilities), [1]))
  const miss = (name: string, target: Handle) => g.reduceMean(g.square(g.sub(net(name), target)))
  const critics = g.add(miss('performance', return1), miss('stability', return2))
  const loss = g.add(g.sub(g.mul(critics, 0.5), gain), g.mul(negativeEntropy, 0.01))
  const [gradient] = gradients(g, loss, [parameters])
  const clipped = clipByGlobalNorm(g, gradient, maxNorm)
  const next = adamStep(g, {
    parameters,
    gradient,
    gradientFactor: clipped.factor,
    firstMoment,
    secondMoment,
    beta1Power,
    beta2Power,
    learningRate: rate,
  })
  g.output(next.parameters, 'pNext')
  g.output(next.firstMoment, 'mNext')
  g.output(next.secondMoment, 'vNext')
  g.output(next.beta1Power, 'beta1Next')
  g.output(next.beta2Power, 'beta2Next')
  g.output(loss, 'loss')
  g.output(clipped.norm, 'norm')
  return g
}

interface Batch {
  x: Tensor
  action: Tensor
  old: Tensor
  advantage: Tensor
  return1: Tensor
  return2: Tensor
}

const stream = randomStream(11, 'train step')
const normals = (dims: number[], scale = 1) =>
  tensorOf(
    'float32',
    dims,
    Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => scale * stream.normal()),
  )

function randomBatch(): Batch {
  const columns = Object.fromEntries(
    ['advantage', 'return1', 'return2'].map((name) => [name, normals([batch, 1])]),
  )
  const action = tensorOf(
    'int64',
    [batch, 1],
    Array.from({ length: batch }, () => stream.integer(actions)),
  )
  const old = tensorOf(
    'float32',
    [batch, 1],
    Array.from({ length: batch }, () => -Math.log(actions) + 0.2 * stream.normal()),
  )
  return {
    x: normals([batch, observation]),
    action,
    old,
    ...(columns as unknown as Pick<Batch, 'advantage' | 'return1' | 'return2'>),
  }
}

/** The same loss and its gradient by TensorFlow.js. */
function reference(flat: Float32Array, data: Batch): { loss: number; gradient: Float64Array } {
  tf.engine().startScope()
  try {
    const column = (t: Tensor) => tf.tensor2d(t.data as Float32Array, t.dims as [number, number])
    const x = column(data.x)
    const picked = tf.oneHot(tf.tensor1d(values(data.action), 'int32'), actions)
    const forward = (...w: tf.Tensor[]): tf.Scalar => {
      const net = (i: number) =>
        tf.add(
          tf.matMul(
            tf.tanh(tf.add(tf.matMul(x, w[4 * i] as tf.Tensor2D), w[4 * i + 1])),
            w[4 * i + 2] as tf.Tensor2D,
          ),
          w[4 * i + 3],
        )
      const logProbabilities = tf.logSoftmax(net(0))
      const ratio = tf.exp(tf.sub(tf.sum(tf.mul(logProbabilities, picked), 1, true), column(data.old)))
      const advantage = column(data.advantage)
      const gain = tf.mean(
        tf.minimum(tf.mul(ratio, advantage), tf.mul(tf.clipByValue(ratio, 0.8, 1.2), advantage)),
      )
      const negativeEntropy = tf.mean(tf.sum(tf.mul(tf.exp(logProbabilities), logProbabilities), 1))
      const miss = (i: number, target: Tensor) => tf.mean(tf.square(tf.sub(net(i), column(target))))
      const critics = tf.add(miss(1, data.return1), miss(2, data.return2))
      return tf.add(tf.sub(tf.mul(critics, 0.5), gain), tf.mul(negativeEntropy, 0.01))
    }
    const weights = layout.entries.map(({ name, dims }) =>
      tf.tensor(parameterOf(layout, flat, name), [...dims]),
    )
    const { value, grads } = tf.valueAndGrads(forward)(weights)
    return {
      loss: value.dataSync()[0],
      gradient: Float64Array.from(grads.flatMap((gradient) => Array.from(gradient.dataSync()))),
    }
  } finally {
    tf.engine().endScope()
  }
}

/** Adam as in the paper, in float64, on a gradient clipped by its norm. */
function referenceAdam(
  flat: Float64Array,
  m: Float64Array,
  v: Float64Array,
  gradient: Float64Array,
  step: number,
): number {
  const norm = Math.hypot(...gradient)
  const factor = Math.min(1, maxNorm / (norm + 1e-6))
  for (let i = 0; i < flat.length; i++) {
    const d = gradient[i] * factor
    m[i] = 0.9 * m[i] + 0.1 * d
    v[i] = 0.999 * v[i] + 0.001 * d * d
    flat[i] -= (rate * (m[i] / (1 - 0.9 ** step))) / (Math.sqrt(v[i] / (1 - 0.999 ** step)) + 1e-8)
  }
  return norm
}

beforeAll(() => tf.setBackend('cpu'))

test('ten steps of the static graph equal TensorFlow.js gradients with a plain Adam', async () => {
  const session = await load(trainGraph().serialize())
  let state: Record<string, Tensor> = {
    p: normals([layout.size], 0.3),
    m: zeros('float32', [layout.size]),
    v: zeros('float32', [layout.size]),
    beta1: scalarOf('float64', 1),
    beta2: scalarOf('float64', 1),
  }
  const flat = Float64Array.from(state.p.data as Float32Array)
  const [m, v] = [new Float64Array(layout.size), new Float64Array(layout.size)]
  let clippedSteps = 0
  for (let step = 1; step <= 10; step++) {
    const data = randomBatch()
    const out = await session.run({ ...state, ...data })
    const expected = reference(Float32Array.from(flat), data)
    const norm = referenceAdam(flat, m, v, expected.gradient, step)
    if (norm > maxNorm) clippedSteps++
    expect(values(out.loss)[0]).toBeCloseTo(expected.loss, 5)
    expect(values(out.norm)[0]).toBeCloseTo(norm, 5)
    state = { p: out.pNext, m: out.mNext, v: out.vNext, beta1: out.beta1Next, beta2: out.beta2Next }
  }
  expect(clippedSteps).toBeGreaterThan(0)
  expect(values(state.beta2)[0]).toBeCloseTo(0.999 ** 10, 12)
  const worst = Math.max(...values(state.p).map((value, i) => Math.abs(value - flat[i])))
  expect(worst).toBeLessThan(1e-5)
})

test('the same step twice gives the same bits', async () => {
  const g = trainGraph()
  const data = randomBatch()
  const state = {
    p: normals([layout.size], 0.3),
    m: normals([layout.size], 0.01),
    v: zeros('float32', [layout.size]),
    beta1: scalarOf('float64', 0.9),
    beta2: scalarOf('float64', 0.999),
  }
  const runs = []
  for (let i = 0; i < 2; i++) runs.push(await (await load(g.serialize())).run({ ...state, ...data }))
  expect(runs[0]).toEqual(runs[1])
})
