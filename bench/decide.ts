import { dirname, join, resolve } from 'node:path'
import { partitionAction } from '../envs/partition.ts'
import { systemClock } from '../src/base/clock.ts'
import { readConfig } from '../src/base/schema.ts'
import { packageRoot } from '../src/cli/root.ts'
import { OBSERVATION_SIZE } from '../src/observe/observation.ts'
import { edgeOnly } from '../src/plan/planners/fixed.ts'
import { perStateDp, priced } from '../src/plan/planners/priced.ts'
import type { Policy, Situation } from '../src/plan/situation.ts'
import { actorSpec, initialParameters } from '../src/policy/actor.ts'
import { LearnedPolicy } from '../src/policy/learned.ts'
import { loadScenario, type Scenario } from '../src/scenario/scenario.ts'
import { createFast } from '../src/sim/fast.ts'
import { Session } from '../src/sim/session.ts'
import { trainingSchema, type TrainingConfig } from '../src/train/config.ts'

/** One figure of a benchmark. */
interface BenchResult {
  readonly name: string
  readonly value: number
  readonly unit: string
}

const ROUNDS = 20

/** Median microseconds of one decision in quickstart's situations: a learned policy's (untrained: the work is the same) and planners'. */
export async function run(): Promise<BenchResult[]> {
  const path = join(packageRoot(), 'configs', 'quickstart.train.yaml')
  const training: TrainingConfig = readConfig(trainingSchema as never, path)
  const scenario = await loadScenario(resolve(dirname(path), training.scenario), { edge: 'raspberry-pi-5' })
  const { problem } = scenario
  const situations = visited(scenario)
  const policies: [string, Policy][] = [
    ['learned policy', untrained(scenario, training)],
    ['priced planner', priced(problem, [0.1, 0.1, 0.1, 0.1])],
    ['per-state DP', perStateDp(problem)],
  ]
  return policies.map(([name, policy]) => ({
    name: `decision, quickstart, ${name}`,
    value: medianMicroseconds(policy, situations),
    unit: 'us',
  }))
}

function untrained(scenario: Scenario, { ppo }: TrainingConfig): Policy {
  const action = partitionAction(scenario.problem)
  const { encoder, rowHidden, criticHidden, observationClip } = ppo
  const critics = ['performance', 'stability']
  const spec = actorSpec(OBSERVATION_SIZE, action, {
    encoder,
    rowHidden,
    critics,
    criticHidden,
    observationClip,
  })
  const mean = new Float32Array(OBSERVATION_SIZE)
  const normaliser = { mean, scale: mean.map(() => 1) }
  const parameters = initialParameters(spec, action, 1)
  return new LearnedPolicy(scenario.problem, { spec, parameters, normaliser })
}

/** What is known at each decision of one episode. */
function visited(scenario: Scenario): Situation[] {
  const session = new Session(scenario.problem, scenario.world('validation', 0), scenario.terms, createFast)
  const policy = edgeOnly(scenario.problem)
  const situations: Situation[] = []
  while (session.next()) {
    situations.push(session.situation())
    session.dispatch(policy.decide(situations[situations.length - 1]))
  }
  return situations
}

function medianMicroseconds(policy: Policy, situations: readonly Situation[]): number {
  const times: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    for (const situation of situations) {
      const start = systemClock.nowSeconds()
      policy.decide(situation)
      // The first rounds warm the compiler up.
      if (round >= ROUNDS / 2) times.push(1e6 * (systemClock.nowSeconds() - start))
    }
  }
  times.sort((a, b) => a - b)
  return times[times.length >> 1]
}
