import { describe, expect, test } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import { EDGE } from '../../../src/plan/plan.ts'
import { compileProgram } from '../../../src/plan/price/compile.ts'
import { edgeJoules } from '../../../src/plan/price/energy.ts'
import { evaluateProgram } from '../../../src/plan/price/evaluate.ts'
import { StateEstimator } from '../../../src/policy/controller/stateEstimator.ts'
import { GREEDY } from '../../../src/run/executor/types.ts'
import type { ResolvedPlan } from '../../../src/run/executor/messages.ts'
import { randomSource } from '../../model/support.ts'
import { randomProblem } from '../../plan/randomProblem.ts'
import { askOf } from '../../policy/controller/planControllerSupport.ts'
import { openLinked, type Linked } from './linked.ts'
import { cutAt, randomPlan, withRandomWidths } from './randomPlan.ts'

const PROMPT = [3, 1, 4, 1, 5]
const NEW_TOKENS = 6
const LINK = { upBitsPerSecond: 20e6, downBitsPerSecond: 40e6, rttSeconds: 0.03 }

async function openWorld(seed: number) {
  const random = randomStream(seed, 'traffic')
  const problem = randomProblem(random, { layers: 2, units: 2, grouped: seed % 2 === 0 }, 'mean')
  const linked = await openLinked(randomSource(problem.pair.model, 5))
  return { random, problem, linked }
}

async function trafficOf({ edge }: Linked, placed: ResolvedPlan) {
  const request = { prompt: PROMPT, maxNewTokens: NEW_TOKENS, sampling: GREEDY, stopIds: [], ...placed }
  const handle = edge.start(request, {})
  await handle.result
  return handle.traffic
}

describe('what a request takes of the link', () => {
  test.each([1, 2])(
    'is what its plan is priced with, in bytes, messages and joules (pair %i)',
    async (seed) => {
      const { random, problem, linked } = await openWorld(seed)
      const { pair, objective, readingTokensPerSecond } = problem
      const { model, power } = pair
      expect(power.radioJoulesPerMessage).toBeGreaterThan(0)
      const placements = [
        cutAt(model, model.layers, EDGE, EDGE),
        cutAt(model, 1, EDGE, EDGE, 8),
        ...Array.from({ length: 3 }, () => withRandomWidths(random, randomPlan(random, model, 16))),
      ]
      for (const [request, placed] of placements.entries()) {
        const traffic = await trafficOf(linked, placed)
        const lengths = { promptTokens: PROMPT.length, outputTokens: NEW_TOKENS }
        const program = compileProgram(pair, placed.plan, { ...lengths, loadBytes: 0, decisionSeconds: 0 })
        const input = { pair, link: LINK, ...lengths, objective, readingTokensPerSecond }
        const priced = evaluateProgram(program, input)
        const { upBytes, downBytes, messages, edgeSeconds } = priced
        expect(traffic).toEqual({ upBytes, downBytes, messages })

        const estimator = new StateEstimator(problem)
        const ask = askOf({ request, promptTokens: PROMPT.length, maxNewTokens: NEW_TOKENS })
        estimator.began(ask, placed.plan, { alone: false, explored: false }, false, 0)
        estimator.edgeBusy(request, { position: 0, rows: PROMPT.length, seconds: edgeSeconds }, 1)
        const served = { seconds: 1, outputTokens: NEW_TOKENS, ...traffic }
        const use = estimator.finished(request, served, 1)!
        expect(use.energyJoules).toBeCloseTo(edgeJoules(power, priced, 0), 12)
        expect(use.cloudSeconds).toBeCloseTo(priced.cloudSeconds, 12)
        expect(use.accuracyLoss).toBe(priced.accuracyLoss)
      }
      await linked.close()
    },
  )

  test('grows by what is sent again after a lost connection', async () => {
    const { problem, linked } = await openWorld(1)
    const placed = cutAt(problem.pair.model, 1, EDGE, EDGE)
    const whole = await trafficOf(linked, placed)
    linked.cutAfter([7])
    const again = await trafficOf(linked, placed)
    expect(linked.events.some(({ kind }) => kind === 'request-resumed')).toBe(true)
    expect(again.messages).toBeGreaterThan(whole.messages)
    expect(again.upBytes).toBeGreaterThan(whole.upBytes)
    await linked.close()
  })
})
