import { LearnedPolicy } from '../../../src/policy/actor/learned.ts'
import { cloudPlan } from '../../../src/plan/planners/fixed.ts'
import { EDGE, uniformPlan, type Plan } from '../../../src/plan/plan.ts'
import { pairUnits } from '../../../src/plan/price/pair.ts'
import type { DecisionProblem } from '../../../src/plan/price/problem.ts'
import type { Situation } from '../../../src/plan/price/situation.ts'
import type { KernelBundle } from '../../../src/policy/controller/edge.ts'
import { PlanController } from '../../../src/policy/controller/planController.ts'
import type { PlanControllerOptions } from '../../../src/policy/controller/planController.ts'
import type { RequestSnapshot, RunningRequest } from '../../../src/policy/controller/planControllerTypes.ts'
import { numbersOf, problemOf, TERMS } from '../bundleSupport.ts'

/** A clock that is moved by hand. */
class HandClock {
  seconds = 1000
  nowSeconds(): number {
    return this.seconds
  }
}

/** A bundle as openBundle makes it, around an actor of this problem; `plans` overrides what it decides. */
export function bundleOf(
  problem: DecisionProblem,
  plans?: (situation: Situation) => Plan,
  numbers = numbersOf(problem, 4, 0.3),
): KernelBundle {
  const policy = new LearnedPolicy(problem, numbers)
  return {
    name: 'test',
    manifest: {} as KernelBundle['manifest'],
    problem,
    engine: 'kernel',
    runs: 'kernel',
    decide: (situation) => plans?.(situation) ?? policy.decide(situation),
    act: (situation, stream) => {
      const act = policy.act(situation, stream)
      return plans === undefined ? act : { ...act, plan: plans(situation) }
    },
    situation: () => {
      throw new RangeError('not in this test')
    },
    close: () => Promise.resolve(),
  }
}

export const PROBE = { upBitsPerSecond: 20e6, downBitsPerSecond: 40e6, rttSeconds: 0.03 }

export function askOf(changes: Partial<RequestSnapshot> = {}): RequestSnapshot {
  return {
    request: 1,
    promptTokens: 60,
    maxNewTokens: 64,
    deliveredTokens: 0,
    waitedSeconds: 0,
    waitingRequests: 1,
    inFlight: 0,
    uplinkQueuedBytes: 0,
    freeMemoryBytes: TERMS.memoryBytes,
    memoryBytes: TERMS.memoryBytes,
    residentBytes: 0,
    ...changes,
  }
}

export function presentOf(
  plan: Plan,
  deliveredTokens: number,
  changes: Partial<RequestSnapshot> = {},
): RunningRequest {
  const left = { promptTokens: 60 + deliveredTokens, maxNewTokens: 64 - deliveredTokens, deliveredTokens }
  return { ...askOf({ ...left, ...changes }), plan }
}

/** A controller on a clock of its own; `beat` lets time pass with heartbeats. */
export function controlled(changes: Partial<PlanControllerOptions> = {}, modelId = 'gpt2') {
  const clock = new HandClock()
  const problem = changes.bundle?.problem ?? problemOf(modelId)
  const edge = uniformPlan(problem.pair.model.layers, pairUnits(problem.pair), EDGE)
  const cloud = cloudPlan(problem)
  const controller = new PlanController({
    bundle: bundleOf(problem),
    fallback: cloud,
    clock,
    firstProbe: PROBE,
    ...changes,
  })
  const wait = (seconds: number): void => {
    clock.seconds += seconds
  }
  const beat = (seconds: number, rttSeconds = 0.03): void => {
    for (let i = 0; i < seconds; i++) {
      wait(1)
      controller.heartbeat(clock.seconds, rttSeconds)
    }
  }
  return { controller, clock, problem, edge, cloud, wait, beat }
}
