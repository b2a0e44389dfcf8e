import type { RandomStream } from '../../src/core/random.ts'
import type { LatencyForm, Objective } from '../../src/plan/price/objective.ts'
import { NO_PRICES, type OracleInput, type PlanOptions } from '../../src/plan/price/question.ts'
import { randomPair, type RandomShape } from './randomPair.ts'

/** A question on a small pair with random weights; no limit on memory, nothing pinned. */
export function randomInput(
  random: RandomStream,
  shape: RandomShape,
  form: LatencyForm['form'],
): OracleInput {
  const pair = randomPair(random, shape)
  const outputTokens = 1 + random.integer(40)
  const promptTokens = 1 + random.integer(200)
  const latency: LatencyForm =
    form === 'mean'
      ? { form }
      : form === 'qoe'
        ? { form, readingTokensPerSecond: 10 }
        : { form, deadlineSeconds: random.uniform() }
  const objective: Objective = {
    weights: {
      latency: 1,
      energy: 0.3 * random.uniform(),
      cloud: 2 * random.uniform(),
      bytes: random.uniform(),
      accuracy: random.uniform(),
    },
    latency,
  }
  const options: PlanOptions = {
    boundaryBits: [32, 16, 8, 4],
    earlyExit: random.uniform() < 0.5,
    exitThresholds: null,
    mixedLayers: true,
    memoryBytes: Infinity,
    reservedTokens: promptTokens + outputTokens,
    edgeLayersFirst: 0,
    edgeLayersLast: 0,
  }
  return {
    pair,
    state: {
      link: {
        upBitsPerSecond: 10 ** (6 + 3 * random.uniform()),
        downBitsPerSecond: 10 ** (6 + 3 * random.uniform()),
        rttSeconds: 10 ** (-5 + 3.5 * random.uniform()),
      },
      promptTokens,
      outputTokens,
      edgeSlowdown: random.uniform() < 0.5 ? 1 : 1 + random.uniform(),
      cloudSlowdown: random.uniform() < 0.5 ? 1 : 1 + random.uniform(),
    },
    objective,
    // The time scale of these small models is milliseconds: a fast reader makes the stalls matter.
    readingTokensPerSecond: 10 ** (1 + 3 * random.uniform()),
    options,
    prices:
      random.uniform() < 0.5
        ? NO_PRICES
        : {
            edgeSecond: random.uniform(),
            cloudSecond: random.uniform(),
            upByte: 1e-7,
            edgeJoule: random.uniform() < 0.5 ? 0 : random.uniform(),
            accuracyNat: random.uniform() < 0.5 ? 0 : 3 * random.uniform(),
          },
  }
}
