import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ActionSpec } from '../../src/policy/action/vectorEnv.ts'
import { maxChoices } from '../../src/policy/action/vectorEnv.ts'
import { VectorLayers } from '../envs/tiny.ts'
import { randomStream } from '../../src/core/random.ts'
import type { RandomStream } from '../../src/core/random.ts'
import { openEngine } from '../../src/core/engine/open.ts'
import type { Engine } from '../../src/core/engine/types.ts'
import { parameterOf } from '../../src/core/onnx/parameters.ts'
import { tensor } from '../../src/core/onnx/tensor.ts'
import type { Tensor } from '../../src/core/onnx/tensor.ts'
import { actorLayout, actorSpec, initialParameters, orthogonal } from '../../src/policy/actor/actor.ts'
import type { ActorSpec, Normaliser } from '../../src/policy/actor/actor.ts'
import { criticModel, MASKED_LOGIT, policyModel } from '../../src/policy/actor/graph.ts'
import { metricNames, trainStepModel } from '../../src/policy/actor/train.ts'
import { ActorKernel } from '../../src/policy/actor/kernel.ts'
import { kernelMath } from '../../src/policy/actor/kernelMath.ts'

let engine: Engine
beforeAll(async () => void (engine = await openEngine('native')))
afterAll(() => engine.close())

/** Three heads: linear and unmasked; a masked layer step with 3 rows; a masked linear one with features. */
const action: ActionSpec = {
  heads: [
    { name: 'plan', choices: 3, usesRowFeatures: false, masked: false },
    { name: 'layer', choices: 7, usesRowFeatures: true, masked: true },
    { name: 'exit', choices: 2, usesRowFeatures: false, masked: true },
  ],
  headOf: [0, 1, 1, 1, 2],
  rowFeatureSize: 4,
}
const sizes = { encoder: [16, 12], rowHidden: 10, critics: ['performance', 'stability'], criticHidden: [9] }
const spec = actorSpec(5, action, sizes)
const features32 = (length: number, stream: RandomStream, scale = 1): Float32Array =>
  Float32Array.from({ length }, () => scale * stream.normal())

/** Parameters with everything non-zero, and two columns of every head equal, so that logits tie. */
function randomParameters(of: ActorSpec, stream: RandomStream, ties: boolean): Float32Array {
  const layout = actorLayout(of)
  const parameters = features32(layout.size, stream, 0.4)
  if (!ties) return parameters
  for (const { name, choices } of of.heads) {
    for (const part of ['out.weight', 'out.bias', 'prior.weight']) {
      if (!layout.entries.some((entry) => entry.name === `head.${name}.${part}`)) continue
      const matrix = parameterOf(layout, parameters, `head.${name}.${part}`)
      for (let row = 0; row < matrix.length; row += choices) matrix[row + choices - 1] = matrix[row]
    }
  }
  return parameters
}

function randomNormaliser(of: ActorSpec, stream: RandomStream): Normaliser {
  const mean = features32(of.observationSize, stream)
  return { mean, scale: mean.map(() => 0.2 + 2 * stream.uniform()) }
}

/** A mask with at least one choice; sometimes exactly one, sometimes all. */
function randomMask(choices: number, stream: RandomStream): Uint8Array {
  const share = stream.uniform() * 1.2
  const mask = Uint8Array.from({ length: choices }, () => (stream.uniform() < share ? 1 : 0))
  mask[stream.integer(choices)] = 1
  return mask
}

test('orthogonal: the shorter side is orthonormal, times the gain', () => {
  for (const [rows, columns] of [
    [6, 4],
    [3, 8],
  ]) {
    const out = new Float32Array(rows * columns)
    orthogonal(out, rows, columns, 2, randomStream(1, 'orthogonal'))
    const short = Math.min(rows, columns)
    const at = (vector: number, k: number): number =>
      rows >= columns ? out[k * columns + vector] : out[vector * columns + k]
    for (let i = 0; i < short; i++) {
      for (let j = 0; j < short; j++) {
        let product = 0
        for (let k = 0; k < Math.max(rows, columns); k++) product += at(i, k) * at(j, k)
        expect(product).toBeCloseTo(i === j ? 4 : 0, 5)
      }
    }
  }
})

test("initial parameters carry the environment's priors and silent critics", () => {
  const initialBias = Float32Array.from({ length: 4 * 7 }, (_, i) => i)
  const biased = {
    ...action,
    heads: action.heads.map((head, i) => (i === 1 ? { ...head, initialBias } : head)),
  }
  const parameters = initialParameters(spec, biased, 3)
  const layout = actorLayout(spec)
  expect(parameterOf(layout, parameters, 'head.layer.prior.weight')).toEqual(initialBias)
  const kernel = new ActorKernel(spec)
  kernel.load(parameters, { mean: new Float32Array(5), scale: new Float32Array(5).fill(1) })
  kernel.encode(Float32Array.of(1, 2, 3, 4, 5))
  expect([kernel.value(0), kernel.value(1)]).toEqual([0, 0])
  expect(kernel.greedy(1, Float32Array.of(0, 1, 0, 0), new Uint8Array(7).fill(1))).toBe(6)
})

test('the SIMD loops: tanh within 5e-7, products equal to plain loops for every shape', () => {
  const { math, memory } = kernelMath(65536)
  const values = new Float32Array(memory, 1024, 4000)
  values.forEach((_, i) => (values[i] = (i - 2000) / 150))
  const exact = values.slice().map(Math.tanh)
  math.tanh(1024, 1024 + 16000)
  expect(Math.max(...values.map((value, i) => Math.abs(value - exact[i])))).toBeLessThan(5e-7)
  const stream = randomStream(2, 'simd')
  const all = new Float32Array(memory)
  for (const [inputs, outputs] of [
    [1, 4],
    [3, 16],
    [5, 28],
    [17, 36],
  ]) {
    const [x, w, bias, out] = [0, 32, 32 + inputs * outputs, 96 + inputs * outputs]
    all.set(features32(out, stream))
    math.dense(x * 4, w * 4, bias * 4, out * 4, inputs, outputs)
    for (let o = 0; o < outputs; o++) {
      let sum = all[bias + o]
      for (let i = 0; i < inputs; i++)
        sum = Math.fround(sum + Math.fround(all[x + i] * all[w + i * outputs + o]))
      expect(all[out + o]).toBe(sum)
    }
  }
})

describe('kernel and graph agree', () => {
  const n = 3000
  test.each([
    ['random parameters', false, 1],
    ['tied choices', true, 1],
    ['extreme observations', true, 1e4],
  ])('%s', async (_name, ties, scale) => {
    const stream = randomStream(7, `parity/${ties}/${scale}`)
    const parameters = randomParameters(spec, stream, ties)
    const normaliser = randomNormaliser(spec, stream)
    const observation = features32(n * 5, stream, scale)
    const rows = features32(n * 4, stream)
    const masks = spec.heads.map(({ choices }) =>
      Array.from({ length: n }, () => randomMask(choices, stream)),
    )
    const uniforms = Float32Array.from({ length: n }, (_, i) =>
      i % 50 === 0 ? 0 : i % 50 === 1 ? 1 - 2 ** -24 : stream.uniform(),
    )
    const feeds: Record<string, Tensor> = {
      observation: tensor('float32', [n, 5], observation),
      row_features: tensor('float32', [n, 4], rows),
      uniforms: tensor('float32', [n], uniforms),
    }
    spec.heads.forEach(({ name, choices, masked }, head) => {
      if (masked)
        feeds[`mask.${name}`] = tensor(
          'bool',
          [n, choices],
          Uint8Array.from(masks[head].flatMap((mask) => [...mask])),
        )
    })
    const session = await engine.create(policyModel(spec, parameters, normaliser))
    const outputs = await session.run(feeds)
    const kernel = new ActorKernel(spec)
    kernel.load(parameters, normaliser)
    let largest = 0
    for (let i = 0; i < n; i++) {
      kernel.encode(observation, i * 5)
      spec.heads.forEach(({ name, choices, masked }, head) => {
        const inputs = [head, rows.subarray(i * 4), masks[head][i]] as const
        const logits = outputs[`logits.${name}`].data as Float32Array
        const greedy = kernel.greedy(...inputs)
        expect(Number(outputs[`greedy.${name}`].data[i])).toBe(greedy)
        for (let c = 0; c < choices; c++) {
          const value = logits[i * choices + c]
          if (masked && masks[head][i][c] === 0) expect(value).toBeLessThanOrEqual(MASKED_LOGIT)
          else largest = Math.max(largest, Math.abs(value - kernel.logits[c]))
        }
        const sampled = kernel.sample(...inputs, uniforms[i])
        if (masked) expect(masks[head][i][sampled]).toBe(1)
        if (!nearBoundary(kernel, choices, uniforms[i])) {
          expect(Number(outputs[`sampled.${name}`].data[i])).toBe(sampled)
        }
      })
    }
    expect(largest).toBeLessThan(1e-5)
    await session.dispose()
  })

  /** Whether the uniform lies within float32's rounding of a step of the distribution function. */
  function nearBoundary(kernel: ActorKernel, choices: number, uniform: number): boolean {
    const exponentials = [...kernel.logits.subarray(0, choices)].map(Math.exp)
    const total = exponentials.reduce((sum, value) => sum + value, 0)
    let cumulated = 0
    return exponentials.some(
      (value) => Math.abs((cumulated += value) / total - uniform) < 1e-6 && uniform > 0 && uniform < 0.999999,
    )
  }

  test('critics', async () => {
    const stream = randomStream(8, 'parity/critics')
    const parameters = randomParameters(spec, stream, false)
    const normaliser = { mean: new Float32Array(5), scale: new Float32Array(5).fill(1) }
    const normalised = features32(500 * 5, stream)
    const session = await engine.create(criticModel(spec))
    const layout = actorLayout(spec)
    const { values } = await session.run({
      parameters: tensor('float32', [layout.size], parameters),
      normalised: tensor('float32', [500, 5], normalised),
    })
    const kernel = new ActorKernel(spec)
    kernel.load(parameters, normaliser)
    for (let i = 0; i < 500; i++) {
      kernel.normalise(normalised, i * 5)
      for (let k = 0; k < 2; k++)
        expect(Math.abs(kernel.value(k) - (values.data[i * 2 + k] as number))).toBeLessThan(1e-5)
    }
    await session.dispose()
  })
})

test('sampling follows the distribution and log-probabilities are those of the choices', () => {
  const stream = randomStream(9, 'sampling')
  const kernel = new ActorKernel(spec)
  kernel.load(randomParameters(spec, stream, false), randomNormaliser(spec, stream))
  kernel.encode(features32(5, stream))
  const rows = features32(4, stream)
  const mask = Uint8Array.of(1, 0, 1, 1, 0, 1, 1)
  const counts = new Float64Array(7)
  for (let i = 0; i < 20000; i++) {
    const choice = kernel.sample(1, rows, mask, (i + 0.5) / 20000)
    expect(kernel.logProbability).toBe(kernel.logProbabilityOf(1, choice))
    counts[choice] += 1 / 20000
  }
  counts.forEach((share, choice) =>
    expect(share).toBeCloseTo(Math.exp(kernel.logProbabilityOf(1, choice)), 3),
  )
})

describe('the training step', () => {
  const batch = 8
  const options = {
    batch,
    valueCoefficient: 0.7,
    valueClip: 0.3,
    maxGradientNorm: 1e9,
    adamBeta1: 0.9,
    adamBeta2: 0.99,
    adamEpsilon: 1e-5,
  }
  const small = actorSpec(3, action, {
    encoder: [4],
    rowHidden: 3,
    critics: ['performance', 'stability'],
    criticHidden: [3],
  })
  const layout = actorLayout(small)
  const stream = randomStream(4, 'step')
  const parameters = randomParameters(small, stream, false)
  const rowsOfHead = [1, 3, 1]
  const data = {
    normalised: features32(batch * 3, stream),
    oldLogProbability: new Float32Array(batch),
    // With the ratios below: clipped and not, on both sides and with both signs.
    advantages: Float32Array.of(1, -1, 0.5, -2, 1.5, 0.7, -1.2, 0.9),
    targets: features32(batch * 2, stream),
    oldValues: features32(batch * 2, stream, 0.3),
    heads: small.heads.map(({ choices, masked }, head) => {
      const total = batch * rowsOfHead[head]
      const masks = Array.from({ length: total }, () =>
        masked ? randomMask(choices, stream) : new Uint8Array(choices).fill(1),
      )
      return {
        rows: rowsOfHead[head],
        masks,
        features: features32(total * 4, stream),
        choices: Int32Array.from(masks, (mask) => mask.lastIndexOf(1)),
      }
    }),
  }
  const entropyCoefficients = [0.03, 0.02, 0.01]
  const kernel = new ActorKernel(small)
  const identity = { mean: new Float32Array(3), scale: new Float32Array(3).fill(1) }

  /** The loss once more, in float64, decision by decision, from the kernel. */
  function loss(at: Float32Array): number {
    kernel.load(at, identity)
    let sum = 0
    for (let b = 0; b < batch; b++) {
      kernel.encode(data.normalised, b * 3)
      let logProbability = 0
      data.heads.forEach(({ rows, masks, features, choices }, head) => {
        for (let row = b * rows; row < (b + 1) * rows; row++) {
          kernel.computeLogits(head, features.subarray(row * 4), masks[row])
          const logs = [...masks[row]].map((_, choice) => kernel.logProbabilityOf(head, choice))
          logProbability += logs[choices[row]]
          for (const log of logs) if (log > -Infinity) sum += entropyCoefficients[head] * Math.exp(log) * log
        }
      })
      const ratio = Math.exp(logProbability - data.oldLogProbability[b])
      const clipped = Math.min(Math.max(ratio, 0.8), 1.2)
      sum -= Math.min(ratio * data.advantages[b], clipped * data.advantages[b])
      for (let k = 0; k < 2; k++) {
        const [value, target, old] = [kernel.value(k), data.targets[b * 2 + k], data.oldValues[b * 2 + k]]
        const near = old + Math.min(Math.max(value - old, -0.3), 0.3)
        sum += 0.7 * 0.5 * Math.max((value - target) ** 2, (near - target) ** 2)
      }
    }
    return sum / batch
  }

  test('its gradient is that of an independent loss, by finite differences', async () => {
    // Old log-probabilities near the present ones, so that some ratios are clipped and some are not.
    kernel.load(parameters, identity)
    for (let b = 0; b < batch; b++) {
      kernel.encode(data.normalised, b * 3)
      data.oldLogProbability[b] = [0, 0.1, -0.1, 0.4, -0.4, 0.02, -0.4, 0.4][b]
      data.heads.forEach(({ rows, masks, features, choices }, head) => {
        for (let row = b * rows; row < (b + 1) * rows; row++) {
          kernel.computeLogits(head, features.subarray(row * 4), masks[row])
          data.oldLogProbability[b] += kernel.logProbabilityOf(head, choices[row])
        }
      })
    }
    const next = await step()
    const moment = next['next.firstMoment'].data as Float32Array
    for (let i = 0; i < layout.size; i++) {
      const shifted = parameters.slice()
      shifted[i] += 1e-2
      const high = loss(shifted)
      const above = shifted[i]
      shifted[i] = parameters[i] - 1e-2
      const slope = (high - loss(shifted)) / (above - shifted[i])
      expect(
        Math.abs(moment[i] / 0.1 - slope),
        layout.entries.find((e) => i < e.offset + e.size)!.name,
      ).toBeLessThan(2e-3)
    }
    // Adam's first step is lr x g / (|g| + eps'), the corrections cancelling.
    const after = next['next.parameters'].data as Float32Array
    for (let i = 0; i < layout.size; i++) {
      const gradient = moment[i] / 0.1
      expect(after[i]).toBeCloseTo(parameters[i] - (0.01 * gradient) / (Math.abs(gradient) + 1e-5), 4)
    }
    const metrics = Object.fromEntries(metricNames(small).map((name, i) => [name, next.metrics.data[i]]))
    const total =
      Number(metrics.policyLoss) -
      small.heads.reduce(
        (sum, { name }, i) => sum + entropyCoefficients[i] * Number(metrics[`entropy.${name}`]),
        0,
      ) +
      0.7 * (Number(metrics['valueLoss.performance']) + Number(metrics['valueLoss.stability']))
    expect(total).toBeCloseTo(loss(parameters), 5)
    expect(metrics.clipFraction).toBeCloseTo(4 / 8, 6)
  })

  async function step(): Promise<Record<string, Tensor>> {
    const session = await engine.create(trainStepModel(small, options))
    const vector = (values: Float32Array): Tensor => tensor('float32', [values.length], values)
    const scalar = (value: number): Tensor => tensor('float32', [], Float32Array.of(value))
    const feeds: Record<string, Tensor> = {
      parameters: vector(parameters),
      firstMoment: vector(new Float32Array(layout.size)),
      secondMoment: vector(new Float32Array(layout.size)),
      beta1Power: tensor('float64', [], Float64Array.of(1)),
      beta2Power: tensor('float64', [], Float64Array.of(1)),
      learningRate: scalar(0.01),
      clipRange: scalar(0.2),
      entropyCoefficients: vector(Float32Array.from(entropyCoefficients)),
      normalised: tensor('float32', [batch, 3], data.normalised),
      oldLogProbability: vector(data.oldLogProbability),
      advantages: vector(data.advantages),
      targets: tensor('float32', [batch, 2], data.targets),
      oldValues: tensor('float32', [batch, 2], data.oldValues),
    }
    small.heads.forEach(({ name, choices, masked, usesRowFeatures }, head) => {
      const { masks, features, choices: chosen } = data.heads[head]
      feeds[`choices.${name}`] = tensor('int32', [chosen.length, 1], chosen)
      if (usesRowFeatures) feeds[`features.${name}`] = tensor('float32', [chosen.length, 4], features)
      const bias = Float32Array.from(
        masks.flatMap((mask) => [...mask]),
        (open) => (open === 1 ? 0 : MASKED_LOGIT),
      )
      if (masked) feeds[`maskBias.${name}`] = tensor('float32', [chosen.length, choices], bias)
    })
    const outputs = await session.run(feeds)
    await session.dispose()
    return outputs
  }
})

test('a head of a real environment fits its actor', () => {
  const env = new VectorLayers(1)
  const layers = actorSpec(env.observationSize, env.action, sizes)
  expect(initialParameters(layers, env.action, 1).length).toBe(actorLayout(layers).size)
  expect(maxChoices(env.action)).toBe(3)
})
