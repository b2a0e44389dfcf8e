import { describe, expect, test } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { SingleEnv } from '../../envs/api.ts'
import type { Env, StepResult } from '../../envs/api.ts'
import { packArchive, unpackArchive } from '../../src/core/archive.ts'
import { cartPole, VectorCartPole } from './cartpole.ts'
import { checkEnv, checkVectorEnv } from '../../envs/check.ts'
import { Box, Discrete, MultiDiscrete } from '../../envs/spaces.ts'
import { VectorBandit, VectorLayers, VectorSemiMarkov } from './tiny.ts'

describe('spaces', () => {
  const stream = randomStream(1, 'spaces')
  const spaces = [
    new Box([-1, 0, -Infinity, -Infinity], [1, Infinity, 5, Infinity]),
    new Discrete(4, -2),
    new MultiDiscrete([2, 5, 1]),
  ]
  test.each(spaces)('%s contains what it samples', (space) => {
    for (let i = 0; i < 200; i++) expect(space.contains(space.sample(stream))).toBe(true)
    for (const alien of [null, 'x', {}, 99, [0], Float32Array.of(9, 9, 9, 9), Int32Array.of(0, 5, 0)]) {
      expect(space.contains(alien)).toBe(false)
    }
  })
})

test('CartPole moves as Gymnasium computes it', () => {
  const env = new VectorCartPole(1)
  env.reset(0)
  env.place(0, [0, 0, 0, 0])
  env.choose(0, 0, 1)
  env.step(0)
  // force 10 N: temp = 10/1.1; thetaAcc = -temp / (0.5 (4/3 - 0.1/1.1)); xAcc = temp - 0.05 thetaAcc / 1.1
  const expected = [0, 0.02 * 9.75609756097561, 0, 0.02 * -14.634146341463415]
  expected.forEach((value, i) => expect(env.observations[i]).toBeCloseTo(value, 7))
})

test('CartPole ends by falling, and is cut at 500 steps', () => {
  const env = new VectorCartPole(1)
  env.reset(0)
  let steps = 0
  do {
    env.choose(0, 0, 1)
    env.step(0)
    steps++
  } while (env.terminated[0] === 0)
  expect(steps).toBeLessThan(15)
  expect(Math.abs(env.finalObservations[2])).toBeGreaterThan((12 * Math.PI) / 180)
  expect(Math.abs(env.observations[2])).toBeLessThan(0.05)
  env.reset(0)
  for (steps = 0; steps < 499; steps++) balance(env)
  expect(env.truncated[0]).toBe(0)
  balance(env)
  expect([env.truncated[0], env.terminated[0]]).toEqual([1, 0])
})

/** A linear controller that holds the pole up. */
function balance(env: VectorCartPole): void {
  const [x, xDot, theta, thetaDot] = env.observations
  env.choose(0, 0, 0.05 * x + 0.2 * xDot + 3 * theta + thetaDot > 0 ? 1 : 0)
  env.step(0)
}

test('our environments pass the checker', () => {
  expect(checkEnv(cartPole)).toEqual([])
  expect(checkEnv(() => new SingleEnv(new VectorLayers(1)))).toEqual([])
  expect(checkEnv(() => new SingleEnv(new VectorSemiMarkov(1, 0.05)))).toEqual([])
  expect(checkVectorEnv(() => new VectorCartPole(3))).toEqual([])
  expect(checkVectorEnv(() => new VectorBandit(3))).toEqual([])
  expect(checkVectorEnv(() => new VectorLayers(3))).toEqual([])
})

type Tiny = Env<Float32Array, number | Int32Array>

/** CartPole with parts of its behaviour replaced. */
function broken(change: (env: Tiny) => Partial<Tiny>): () => Tiny {
  return () => {
    const inner = cartPole()
    const env: Tiny = {
      observationSpace: inner.observationSpace,
      actionSpace: inner.actionSpace,
      reset: (options) => inner.reset(options),
      step: (action) => inner.step(action),
      close: () => inner.close(),
    }
    return { ...env, ...change(inner) }
  }
}

describe('the checker finds what is broken', () => {
  const edit = (change: (result: StepResult<Float32Array>) => unknown) =>
    broken((env) => ({ step: (action) => change(env.step(action)) as StepResult<Float32Array> }))
  const cases: [string, () => Tiny, RegExp][] = [
    ['four values', edit((result) => result.slice(0, 4)), /must return \[observation, reward, terminated/],
    ['a reward of NaN', edit(([o, , ...rest]) => [o, Number.NaN, ...rest]), /finite number/],
    [
      'numbers for booleans',
      edit(([o, r, t, u, i]) => [o, r, Number(t), Number(u), i]),
      /terminated must be a boolean/,
    ],
    ['an observation outside', edit(([o, ...rest]) => [o.map(() => 9), ...rest]), /not in Box/],
    ['no info', edit(([o, r, t, u]) => [o, r, t, u, null]), /info must be an object/],
    [
      'a bare observation',
      broken((env) => ({ reset: (o) => env.reset(o)[0] as never })),
      /\[observation, info\]/,
    ],
    [
      'a seed ignored',
      broken((env) => ({ reset: () => env.reset() })),
      /equal seeds|start the random stream/,
    ],
    ['steps past the end', forgiving, /after the end/],
    ['a shared buffer', sharing, /must not change/],
    ['hidden randomness', haunted(), /equal seeds/],
  ]
  test.each(cases)('%s', (_name, factory, message) => {
    expect(checkEnv(factory).join('\n')).toMatch(message)
  })

  function forgiving(): Tiny {
    let last: StepResult<Float32Array> | null = null
    const ended = (): boolean => last !== null && (last[2] || last[3])
    return broken((env) => ({
      reset: (options) => {
        last = null
        return env.reset(options)
      },
      step: (action) => (ended() ? last! : (last = env.step(action))),
    }))()
  }

  function sharing(): Tiny {
    const buffer = new Float32Array(4)
    return edit(([observation, ...rest]) => {
      buffer.set(observation)
      return [buffer, ...rest]
    })()
  }

  function haunted(): () => Tiny {
    const ghost = randomStream(1, 'ghost')
    return edit(([o, r, ...rest]) => [o, r + ghost.uniform(), ...rest])
  }
})

test('the vector checker finds a mask that disagrees and a state that is not saved', () => {
  class Miscounting extends VectorLayers {
    override rowInput(env: number, row: number, features: Float32Array, mask: Uint8Array): number {
      return super.rowInput(env, row, features, mask) + (row === 2 ? 1 : 0)
    }
  }
  expect(checkVectorEnv(() => new Miscounting(2)).join()).toMatch(/number of choices/)
  class Forgetful extends VectorSemiMarkov {
    private total = 0
    protected override advance(env: number): void {
      super.advance(env)
      this.performance[env] += this.total++
    }
  }
  expect(checkVectorEnv(() => new Forgetful(2, 0.1)).join()).toMatch(/continue exactly/)
})

test('an archive gives back what was packed and refuses any changed byte', () => {
  const arrays = { a: Float32Array.of(1, -0, Number.NaN), b: Uint8Array.of(7), c: new Float64Array(0) }
  const bytes = packArchive({ json: { x: [1, 'é'] }, arrays })
  const back = unpackArchive(bytes, 'test')
  expect(back.json).toEqual({ x: [1, 'é'] })
  expect(back.arrays).toEqual(arrays)
  expect(packArchive(back)).toEqual(bytes)
  for (let i = 0; i < bytes.length; i += 3) {
    const damaged = bytes.slice()
    damaged[i] ^= 1
    expect(() => unpackArchive(damaged, 'test')).toThrow()
  }
})
