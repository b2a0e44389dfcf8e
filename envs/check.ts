import { randomStream } from '../src/core/random.ts'
import type { RandomStream } from '../src/core/random.ts'
import type { Env } from './api.ts'
import { maxChoices } from '../src/policy/action/vectorEnv.ts'
import type { VectorEnv } from '../src/policy/action/vectorEnv.ts'

const STEPS = 300

/**
 * Checks environments made by `factory` against Gymnasium's contract, and returns every violation as one sentence; an
 * empty list means none. Actions are drawn from one fixed stream.
 */
export function checkEnv<O, A>(factory: () => Env<O, A>): string[] {
  const report = new Set<string>()
  attempt(report, 'reset and step', () => {
    checkOrder(factory(), report)
    checkEpisodes(factory(), report)
    checkSeeding(factory, report)
    checkBadAction(factory(), report)
  })
  return [...report]
}

function checkOrder<O, A>(env: Env<O, A>, report: Set<string>): void {
  const stream = randomStream(0, 'checkEnv/order')
  if (!throws(() => env.step(env.actionSpace.sample(stream))))
    report.add('step before the first reset must throw')
}

function checkEpisodes<O, A>(env: Env<O, A>, report: Set<string>): void {
  const stream = randomStream(0, 'checkEnv/episodes')
  checkReset(env, env.reset({ seed: 1 }), report)
  for (let step = 0; step < STEPS; step++) {
    const action = draw(env, stream)
    if (!env.actionSpace.contains(action)) report.add('actionSpace must contain the actions it samples')
    const result = env.step(action)
    checkStep(env, result, report)
    const before = JSON.stringify(result[0])
    if (result[2] || result[3]) {
      if (!throws(() => env.step(draw(env, stream))))
        report.add('step after the end of an episode must throw until reset')
      checkReset(env, env.reset(), report)
    } else {
      const next = env.step(draw(env, stream))
      if (next[2] || next[3]) checkReset(env, env.reset(), report)
    }
    if (JSON.stringify(result[0]) !== before)
      report.add('an observation must not change after it was returned')
  }
  env.close()
}

function checkReset<O, A>(env: Env<O, A>, result: unknown, report: Set<string>): void {
  if (!Array.isArray(result) || result.length !== 2) {
    report.add('reset must return [observation, info]')
    return
  }
  if (!env.observationSpace.contains(result[0]))
    report.add(`reset: the observation is not in ${env.observationSpace.toString()}`)
  if (!isRecord(result[1])) report.add('reset: info must be an object')
}

function checkStep<O, A>(env: Env<O, A>, result: unknown, report: Set<string>): void {
  if (!Array.isArray(result) || result.length !== 5) {
    report.add('step must return [observation, reward, terminated, truncated, info]')
    return
  }
  const [observation, reward, terminated, truncated, info] = result as unknown[]
  if (!env.observationSpace.contains(observation))
    report.add(`step: the observation is not in ${env.observationSpace.toString()}`)
  if (typeof reward !== 'number' || !Number.isFinite(reward))
    report.add('step: reward must be a finite number')
  if (typeof terminated !== 'boolean') report.add('step: terminated must be a boolean')
  if (typeof truncated !== 'boolean') report.add('step: truncated must be a boolean')
  if (!isRecord(info)) report.add('step: info must be an object')
}

function checkSeeding<O, A>(factory: () => Env<O, A>, report: Set<string>): void {
  const [one, other] = [factory(), factory()]
  // The second instance is used before it is seeded, and the first one in between: neither may affect the result.
  other.reset({ seed: 77 })
  const first = trajectory(one, 5)
  if (trajectory(other, 5) !== first)
    report.add('equal seeds and actions must give equal trajectories, in every instance')
  if (trajectory(one, 5) !== first) report.add('reset with a seed must start the random stream anew')
  const seeded = trajectory(one, 5)
  one.reset()
  const continued = JSON.stringify(one.reset()[0])
  trajectory(other, 5)
  other.reset()
  if (JSON.stringify(other.reset()[0]) !== continued)
    report.add('reset without a seed must continue the seeded stream')
  if (seeded !== first) report.add('reset with a seed must start the random stream anew')
}

/** Two episodes (or their beginnings) after a reset with a seed, as text. */
function trajectory<O, A>(env: Env<O, A>, seed: number): string {
  const stream = randomStream(seed, 'checkEnv/actions')
  const log: unknown[] = [env.reset({ seed })]
  for (let step = 0; step < 60; step++) {
    const action = draw(env, stream)
    const result = env.step(action)
    log.push(action, result)
    if (result[2] || result[3]) log.push(env.reset())
  }
  return JSON.stringify(log)
}

function checkBadAction<O, A>(env: Env<O, A>, report: Set<string>): void {
  for (const bad of [-1, Number.NaN, 'left', undefined]) {
    if (env.actionSpace.contains(bad)) continue
    env.reset({ seed: 3 })
    if (!throws(() => env.step(bad as A))) report.add('an action outside actionSpace must throw')
  }
}

/**
 * The same for a vector environment with any number of environments: masks agree with their counts, features and
 * observations are finite, tau is not negative, equal seeds give equal results, environments do not depend on the order
 * in which they are stepped, and restore(save()) continues exactly.
 */
export function checkVectorEnv(factory: () => VectorEnv, steps = 100): string[] {
  const report = new Set<string>()
  attempt(report, 'the vector environment', () => {
    const [one, other] = [factory(), factory()]
    const first = run(one, 1, steps, report, false)
    if (run(other, 1, steps, report, true) !== first)
      report.add('equal seeds must agree whatever the order of stepping')
    if (run(other, 1, steps, report, false) !== first)
      report.add('reset(seed) must forget everything before it')
    const saved = one.save()
    const straight = go(one, 9, steps, report, false)
    const fresh = factory()
    fresh.restore(saved)
    if (go(fresh, 9, steps, report, false) !== straight) report.add('restore(save()) must continue exactly')
    if (!throws(() => fresh.restore(saved.slice(0, -1)))) report.add('restore must refuse damaged bytes')
  })
  return [...report]
}

function run(
  vector: VectorEnv,
  seed: number,
  steps: number,
  report: Set<string>,
  backwards: boolean,
): string {
  vector.reset(seed)
  return go(vector, seed, steps, report, backwards)
}

/** Steps all environments `steps` times with random allowed choices; returns a log of everything observed. */
function go(vector: VectorEnv, seed: number, steps: number, report: Set<string>, backwards: boolean): string {
  const { count } = vector
  const streams = Array.from({ length: count }, (_, env) => randomStream(seed, `checkVectorEnv/${env}`))
  const order = Array.from({ length: count }, (_, i) => (backwards ? count - 1 - i : i))
  const log: unknown[] = [[...vector.observations]]
  for (let step = 0; step < steps; step++) {
    const rows: unknown[] = []
    for (const env of order) {
      rows[env] = act(vector, env, streams[env], report)
      vector.step(env)
      checkStepArrays(vector, env, report)
    }
    const { observations, performance, stability, tauSeconds, terminated, truncated } = vector
    log.push(
      rows,
      [...observations],
      [...performance],
      [...stability],
      [...tauSeconds],
      [...terminated],
      [...truncated],
    )
  }
  return JSON.stringify(log)
}

function act(vector: VectorEnv, env: number, stream: RandomStream, report: Set<string>): unknown {
  const { action } = vector
  const features = new Float32Array(action.rowFeatureSize)
  const mask = new Uint8Array(maxChoices(action))
  const log: unknown[] = []
  vector.beginAction(env)
  action.headOf.forEach((head, row) => {
    const { choices, masked } = action.heads[head]
    const allowed = vector.rowInput(env, row, features, mask)
    const open = Array.from({ length: choices }, (_, choice) => choice).filter((choice) => mask[choice] === 1)
    if (open.length !== allowed)
      report.add(`rowInput must return the number of choices its mask allows (row ${row})`)
    if (open.length === 0) report.add(`at least one choice must be allowed (row ${row})`)
    if (!masked && open.length < choices)
      report.add(`a head that says masked: false must allow all choices (row ${row})`)
    if (features.some((x) => !Number.isFinite(x))) report.add(`row features must be finite (row ${row})`)
    const choice = open.length === 0 ? 0 : open[stream.integer(open.length)]
    vector.choose(env, row, choice)
    log.push(choice, [...features], open)
  })
  return log
}

function checkStepArrays(vector: VectorEnv, env: number, report: Set<string>): void {
  const { observationSize } = vector
  const seen = [vector.observations]
  if (vector.terminated[env] === 1 || vector.truncated[env] === 1) seen.push(vector.finalObservations)
  for (const array of seen) {
    const row = array.subarray(env * observationSize, (env + 1) * observationSize)
    if (row.some((x) => !Number.isFinite(x))) report.add('observations must be finite')
  }
  if (!Number.isFinite(vector.performance[env] + vector.stability[env])) report.add('rewards must be finite')
  if (!(vector.tauSeconds[env] >= 0 && vector.tauSeconds[env] < Infinity))
    report.add('tauSeconds must be finite and not negative')
}

function draw<O, A>(env: Env<O, A>, stream: RandomStream): A {
  return env.sampleAction === undefined ? env.actionSpace.sample(stream) : env.sampleAction(stream)
}

function attempt(report: Set<string>, what: string, run: () => void): void {
  try {
    run()
  } catch (error) {
    report.add(`${what} must not throw: ${(error as Error).message.replaceAll('\n', ' ')}`)
  }
}

function throws(run: () => unknown): boolean {
  try {
    run()
  } catch {
    return true
  }
  return false
}

function isRecord(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
