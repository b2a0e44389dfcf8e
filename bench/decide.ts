import { dirname, join, resolve } from 'node:path'
import { partitionAction } from '../envs/partition.ts'
import { systemClock } from '../src/core/clock.ts'
import { median } from '../src/core/quantile.ts'
import { randomStream, type RandomStream } from '../src/core/random.ts'
import { readConfig } from '../src/core/schema.ts'
import { packageRoot } from '../src/core/packageRoot.ts'
import { loadModel } from '../src/model/catalog.ts'
import { OBSERVATION_SIZE } from '../src/policy/observation/observation.ts'
import { NO_BUDGETS } from '../src/plan/price/budgets.ts'
import { cloudSlowdown } from '../src/plan/price/cloud.ts'
import { createPair } from '../src/plan/price/pair.ts'
import { cloudPlan, edgeOnly } from '../src/plan/planners/fixed.ts'
import { perStateDp, priced } from '../src/plan/planners/priced.ts'
import type { DecisionProblem } from '../src/plan/price/problem.ts'
import type { Policy, Situation } from '../src/plan/price/situation.ts'
import { actorSpec, initialParameters } from '../src/policy/actor/actor.ts'
import { LearnedPolicy } from '../src/policy/actor/learned.ts'
import { accuracyTable } from '../src/plan/profile/accuracy.ts'
import { BlockCosts } from '../src/plan/profile/costs.ts'
import { datasheetProfile } from '../src/plan/profile/datasheet.ts'
import { PlanController, type ControllerPolicy } from '../src/policy/controller/planController.ts'
import { loadScenario, type Scenario } from '../src/sim/scenario/scenario.ts'
import { createFast } from '../src/sim/fast.ts'
import { Episode } from '../src/sim/episode.ts'
import { trainingSchema, type TrainingConfig } from '../src/learn/runs/config.ts'

/** One figure of a benchmark. */
interface BenchResult {
  readonly name: string
  readonly value: number
  readonly unit: string
}

const ROUNDS = 20
/** Of each kind, after a quarter as many that warm the compiler up. Collections of garbage are among what is measured. */
const DECISIONS = 5000
/** Standard deviation of what is added to initial parameters: a policy that has not been trained likes no plan best. */
const NOISE = 0.15

/**
 * Microseconds of one decision: in quickstart's situations of a learned policy (untrained: the work is the same) and of
 * planners, medians; and of a whole PlanController.decide (observation, shield check, policy or exact action) for models of
 * 32 and 48 layers with all their heads, median and 99th percentile: where the policy decides, where the shield does, and
 * where either may.
 */
export async function run(): Promise<BenchResult[]> {
  const path = join(packageRoot(), 'configs', 'quickstart.train.yaml')
  const training: TrainingConfig = readConfig(trainingSchema as never, path)
  const scenario = await loadScenario(resolve(dirname(path), training.scenario), { edge: 'raspberry-pi-5' })
  const { problem } = scenario
  const situations = visited(scenario)
  const policies: [string, Policy][] = [
    ['learned policy', untrained(problem, training)],
    ['priced planner', priced(problem, [0.1, 0.1, 0.1, 0.1])],
    ['per-state DP', perStateDp(problem)],
  ]
  const planners = policies.map(([name, policy]) => ({
    name: `decision, quickstart, ${name}`,
    value: medianMicroseconds(policy, situations),
    unit: 'us',
  }))
  return [...planners, ...['llama-7b', 'gpt2-xl'].flatMap((id) => controlled(id, training))]
}

function untrained(problem: DecisionProblem, { ppo }: TrainingConfig): LearnedPolicy {
  const action = partitionAction(problem)
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
  const stream = randomStream(1, 'bench/decide/parameters')
  parameters.forEach((value, i) => (parameters[i] = value + NOISE * stream.normal()))
  return new LearnedPolicy(problem, { spec, parameters, normaliser })
}

/** What is known at each decision of one episode. */
function visited(scenario: Scenario): Situation[] {
  const session = new Episode(scenario.problem, scenario.world('validation', 0), scenario.terms, createFast)
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
  return median(times)
}

/** A model on an edge that just does not hold it, or holds it with room to spare: memory binds in half of the cases. */
function problemOf(modelId: string): DecisionProblem {
  const model = loadModel(modelId)
  const [edge, cloud] = ['jetson-orin-nx', 'a100'].map((id) => new BlockCosts(datasheetProfile(id, model)))
  const factors = Array.from({ length: 8 }, (_, i) => cloud.batchFactor(i + 1))
  return {
    pair: createPair(edge, cloud, accuracyTable(model)),
    objective: {
      weights: { latency: 1, energy: 0.01, cloud: 4, bytes: 0, accuracy: 10 },
      latency: { form: 'qoe', readingTokensPerSecond: 10 },
    },
    budgets: NO_BUDGETS,
    readingTokensPerSecond: 10,
    boundaryBits: [16, 8],
    earlyExit: true,
    exitThresholds: [0.6, 0.8],
    edgeLayersFirst: 0,
    edgeLayersLast: 0,
    cloudSlowdown: (active) => cloudSlowdown(factors, factors.length, active),
  }
}

type Who = 'policy' | 'shield' | 'either'

/** Figures of one model: the policy's decisions, the exact ones that the shield takes, and both as queues come and go. */
function controlled(modelId: string, training: TrainingConfig): BenchResult[] {
  const problem = problemOf(modelId)
  const policy = untrained(problem, training)
  const bundle: ControllerPolicy = { problem, act: (situation, stream) => policy.act(situation, stream) }
  const of = `PlanController.decide, ${String(problem.pair.model.layers)} layers`
  return (['policy', 'shield', 'either'] as const).flatMap((who) => {
    const { seconds, shieldShare } = decisions(bundle, who)
    const rank = (share: number): number => 1e6 * seconds[Math.ceil(share * seconds.length) - 1]
    const figures = [
      { name: `${of}, ${who}, median`, value: rank(0.5), unit: 'us' },
      { name: `${of}, ${who}, p99`, value: rank(0.99), unit: 'us' },
    ]
    if (who !== 'either') return figures
    return [...figures, { name: `${of}, ${who}, by the shield`, value: 100 * shieldShare, unit: '%' }]
  })
}

/** Requests that wait: at most 8 and the policy decides, more and the shield does. */
function waiting(who: Who, random: RandomStream): number {
  if (who === 'policy') return 1
  return who === 'shield' ? 9 + random.integer(8) : 1 + random.integer(10)
}

interface Timed {
  /** Sorted. */
  readonly seconds: Float64Array
  readonly shieldShare: number
}

/** Decisions while the link, the queue and the memory keep changing. */
function decisions(bundle: ControllerPolicy, who: Who): Timed {
  const random = randomStream(1, 'bench/decide')
  const firstProbe = { upBitsPerSecond: 20e6, downBitsPerSecond: 50e6, rttSeconds: 0.03 }
  const fallback = cloudPlan(bundle.problem)
  const controller = new PlanController({ bundle, fallback, clock: systemClock, firstProbe })
  const scaled = (low: number, high: number): number => low * (high / low) ** random.uniform()
  let byShield = 0
  const decide = (): number => {
    const now = systemClock.nowSeconds()
    controller.arrived(now)
    controller.heartbeat(now, scaled(0.01, 0.1))
    const sent = scaled(2e3, 1e6)
    controller.transfer('up', sent, now - (8 * sent) / scaled(2e6, 1e8), now)
    const decision = controller.decide({
      request: 1,
      promptTokens: 1 + random.integer(700),
      maxNewTokens: 256,
      deliveredTokens: 0,
      waitingRequests: waiting(who, random),
      waitedSeconds: 0,
      inFlight: 0,
      uplinkQueuedBytes: 0,
      residentBytes: 0,
      freeMemoryBytes: scaled(2e9, 3e10),
      memoryBytes: 3e10,
    })
    if (who !== 'either' && decision.source !== who) throw new Error(`expected a decision by the ${who}`)
    if (decision.source === 'shield') byShield++
    return decision.decideSeconds
  }
  for (let i = 0; i < DECISIONS / 4; i++) decide()
  byShield = 0
  const seconds = Float64Array.from({ length: DECISIONS }, decide).sort()
  return { seconds, shieldShare: byShield / DECISIONS }
}
