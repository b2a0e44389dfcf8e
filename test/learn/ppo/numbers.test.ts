import fc from 'fast-check'
import { expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { check } from '../../../src/core/schema.ts'
import { entropySchedule, ppoConfigSchema, scheduled } from '../../../src/learn/ppo/config.ts'
import { generalisedAdvantages, standardise } from '../../../src/learn/ppo/gae.ts'
import type { GaeInput } from '../../../src/learn/ppo/gae.ts'
import { ReturnScale, RunningMoments } from '../../../src/learn/ppo/normalise.ts'

/** GAE from its definition: for every decision, the discounted sum of all deltas to the episode's end. */
function naiveAdvantages(input: GaeInput): Float64Array {
  const {
    steps,
    envs,
    rewards,
    values,
    finalValues,
    tauSeconds,
    terminated,
    truncated,
    discountRate,
    lambda,
  } = input
  return Float64Array.from({ length: steps * envs }, (_, start) => {
    let sum = 0
    let elapsed = 0
    for (let i = start, power = 0; i < steps * envs; i += envs, power++) {
      const after = elapsed + tauSeconds[i]
      const next = terminated[i] ? 0 : truncated[i] ? finalValues[i] : values[i + envs]
      sum +=
        lambda ** power *
        (Math.exp(-discountRate * elapsed) * (rewards[i] - values[i]) +
          Math.exp(-discountRate * after) * next)
      elapsed = after
      if (terminated[i] || truncated[i]) break
    }
    return sum
  })
}

const real = fc.double({ min: -5, max: 5, noNaN: true })

test('advantages equal a naive implementation', () => {
  const cases = fc
    .record({ steps: fc.integer({ min: 1, max: 12 }), envs: fc.integer({ min: 1, max: 3 }) })
    .chain(({ steps, envs }) => {
      const numbers = (length: number, of = real) =>
        fc.array(of, { minLength: length, maxLength: length }).map((list) => Float64Array.from(list))
      const flags = numbers(steps * envs, fc.constantFrom(0, 0, 0, 1)).map((list) => Uint8Array.from(list))
      return fc.record({
        steps: fc.constant(steps),
        envs: fc.constant(envs),
        rewards: numbers(steps * envs),
        values: numbers((steps + 1) * envs),
        finalValues: numbers(steps * envs),
        tauSeconds: numbers(steps * envs, fc.double({ min: 0, max: 3, noNaN: true })),
        terminated: flags,
        truncated: flags,
        discountRate: fc.double({ min: 0, max: 1, noNaN: true }),
        lambda: fc.double({ min: 0, max: 1, noNaN: true }),
      })
    })
  fc.assert(
    fc.property(cases, (input) => {
      const out = new Float64Array(input.rewards.length)
      generalisedAdvantages(input, out)
      naiveAdvantages(input).forEach((value, i) => expect(out[i]).toBeCloseTo(value, 9))
    }),
  )
})

test('standardised advantages have mean 0 and deviation 1', () => {
  const values = Float64Array.of(1, 2, 3, 10)
  standardise(values)
  expect(values.reduce((a, b) => a + b)).toBeCloseTo(0, 12)
  expect(values.reduce((a, b) => a + b * b, 0) / 4).toBeCloseTo(1, 6)
})

test('running moments in pieces equal those of the whole', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(real, { minLength: 2, maxLength: 6 }), { minLength: 1, maxLength: 6 }),
      (pieces) => {
        const running = new RunningMoments(1)
        for (const piece of pieces) running.update(Float32Array.from(piece), piece.length)
        const whole = new RunningMoments(1)
        const all = Float32Array.from(pieces.flat())
        whole.update(all, all.length)
        expect(running.mean[0]).toBeCloseTo(whole.mean[0], 9)
        expect(running.squares[0]).toBeCloseTo(whole.squares[0], 7)
      },
    ),
  )
})

test('a normaliser is the identity until it has seen something, and leaves a constant its scale', () => {
  const moments = new RunningMoments(2)
  expect(moments.normaliser()).toEqual({ mean: Float32Array.of(0, 0), scale: Float32Array.of(1, 1) })
  moments.update(Float32Array.of(7, 1, 7, 3), 2)
  expect(moments.normaliser()).toEqual({ mean: Float32Array.of(7, 2), scale: Float32Array.of(1, 1) })
})

test('rescaling the returns does not change what a critic predicts', () => {
  const scale = new ReturnScale()
  const weight = Float32Array.of(0.5, -1)
  const bias = Float32Array.of(0.25)
  const predict = (): number => scale.mean + scale.deviation * (weight[0] * 0.3 + weight[1] * 0.8 + bias[0])
  const before = predict()
  scale.update(Float64Array.of(-40, -60, -55, -20), 0.1, weight, bias)
  expect([scale.mean, scale.deviation]).toEqual([-43.75, expect.closeTo(15.56, 2)])
  expect(predict()).toBeCloseTo(before, 5)
  scale.update(Float64Array.of(3, 3, 3), 0.1, weight, bias)
  expect(predict()).toBeCloseTo(before, 5)
})

test('a critic without rewards is left alone', () => {
  const scale = new ReturnScale()
  const bias = Float32Array.of(0)
  scale.update(new Float64Array(4), 0.1, Float32Array.of(0), bias)
  expect([scale.mean, scale.deviation, bias[0]]).toEqual([0, 1, 0])
})

test('settings: defaults, schedules, one error that names the field', () => {
  const parse = (value: unknown) => check(ppoConfigSchema, value, 'train.yaml')
  const config = parse({
    totalUpdates: 10,
    learningRate: { from: 1, to: 0 },
    entropy: { push: 0.5 },
    discountRate: { performance: 1, stability: 2 },
  })
  expect(config.learningRate).toEqual({ from: 1, to: 0 })
  expect([0, 5, 10, 12].map((done) => scheduled(config.learningRate, done, 10))).toEqual([1, 0.5, 0, 0])
  expect(entropySchedule(config, 'push')).toEqual({ from: 0.5, to: 0.5 })
  expect(entropySchedule(config, 'other')).toEqual({ from: 0, to: 0 })
  expect(entropySchedule(parse({ totalUpdates: 1 }), 'any')).toEqual({ from: 0.01, to: 0.01 })
  expect(config.discountRate).toEqual({ performance: 1, stability: 2 })
  expect(config.lambda).toEqual({ performance: 0.95, stability: 0.95 })
  expect(() => parse({ totalUpdates: 0 })).toThrow(InputError)
  expect(() => parse({ totalUpdates: 1, clipRagne: 0.1 })).toThrow(/clipRagne/)
})
