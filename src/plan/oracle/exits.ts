import { exitEntryOf } from '../profile/accuracy.ts'
import type { BlockCosts } from '../profile/costs.ts'
import { boundaryBytes, serialisationSeconds, tokenIdBytes, warmLatencySeconds } from '../price/boundary.ts'
import { upperMarginalSeconds } from '../price/compile.ts'
import { curveIn, segmentAt, sumCurve } from '../price/curves.ts'
import type { RequestUse } from '../price/evaluate.ts'
import { pairUnits, type DevicePair } from '../price/pair.ts'
import type { EarlyExit } from '../plan.ts'
import { askedOfCloud } from '../price/program.ts'
import type { PlanningState } from '../price/question.ts'

/**
 * What an early-exit plan takes, summed without its program, because the oracle evaluates many: `evaluateProgram` takes
 * several times as long. test/plan/cost.test.ts holds the two to each other for random pairs and exits.
 */
export function exitUse(
  pair: DevicePair,
  state: PlanningState,
  exit: EarlyExit,
  bits: number,
  readingTokensPerSecond: number,
): RequestUse {
  const units = pairUnits(pair)
  const edgeFixed =
    state.edgeSlowdown *
    (exit.layer * pair.edge.ffnSeconds('whole', 1) +
      pair.edge.dispatchSeconds +
      pair.edge.embedSeconds(1) +
      pair.edge.headSeconds())
  const first =
    state.edgeSlowdown *
    (exit.layer *
      (pair.edge.attentionPrefillSeconds(state.promptTokens, units) +
        pair.edge.ffnSeconds('whole', state.promptTokens)) +
      pair.edge.dispatchSeconds +
      pair.edge.wakeSeconds +
      pair.edge.embedSeconds(state.promptTokens) +
      pair.edge.headSeconds())
  const use: Mutable<RequestUse> = {
    ttftSeconds: first,
    e2eSeconds: first,
    stallSeconds: 0,
    edgeSeconds: 0,
    cloudSeconds: 0,
    upBytes: 0,
    downBytes: 0,
    messages: 0,
  }
  const from = state.promptTokens + 1
  const cycles = state.outputTokens - 1
  const curve = pair.edge.attentionDecodeCurve(units)
  const decode =
    cycles * edgeFixed +
    state.edgeSlowdown * exit.layer * sumCurve(pair.edge.contextKnots, curve, from, from + cycles - 1)
  use.edgeSeconds = first + decode
  if (exit.mode === 'standalone') {
    use.e2eSeconds = first + decode
    use.stallSeconds = Math.max(0, decode - cycles / readingTokensPerSecond)
    return use
  }
  const edge = new Steps(pair.edge, curve, state.edgeSlowdown * exit.layer, edgeFixed)
  collaborate(pair, state, exit, bits, readingTokensPerSecond, edge, use)
  return use
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** Token by token: every hidden state goes up, and some tokens wait for the cloud's answer. */
function collaborate(
  pair: DevicePair,
  state: PlanningState,
  exit: EarlyExit,
  bits: number,
  rate: number,
  edge: Steps,
  use: Mutable<RequestUse>,
): void {
  const { link, promptTokens, outputTokens } = state
  const share = 1 - exitEntryOf(pair.accuracy, exit.layer, exit.threshold).leaveShare.value
  const upper = pair.model.layers - exit.layer
  const slow = state.cloudSlowdown
  const prompt = boundaryBytes(pair.network, promptTokens, pair.model.width, bits)
  const hidden = boundaryBytes(pair.network, 1, pair.model.width, bits)
  const id = tokenIdBytes(pair.network, 1)
  const hiddenWire = serialisationSeconds(link.upBitsPerSecond, hidden)
  const hiddenLatency = warmLatencySeconds(pair.network, link, hidden)
  const answer = serialisationSeconds(link.downBitsPerSecond, id) + warmLatencySeconds(pair.network, link, id)
  const units = pairUnits(pair)
  const promptWork =
    slow *
    (upper *
      (pair.cloud.attentionPrefillSeconds(promptTokens, units) +
        pair.cloud.ffnSeconds('whole', promptTokens)) +
      pair.cloud.dispatchSeconds +
      pair.cloud.wakeSeconds +
      pair.cloud.headSeconds())
  const catchUp = share > 0 ? (1 / share - 1) * upperMarginalSeconds(pair, exit.layer) : 0
  const askFixed =
    slow *
    (upper * pair.cloud.ffnSeconds('whole', 1) +
      catchUp +
      pair.cloud.dispatchSeconds +
      pair.cloud.wakeSeconds +
      pair.cloud.headSeconds())
  const ask = new Steps(pair.cloud, pair.cloud.attentionDecodeCurve(units), slow * upper, askFixed)
  let upFree = use.ttftSeconds + serialisationSeconds(link.upBitsPerSecond, prompt)
  let cloudFree = upFree + warmLatencySeconds(pair.network, link, prompt) + promptWork
  use.cloudSeconds = promptWork
  const wake = state.edgeSlowdown * pair.edge.wakeSeconds
  let at = use.ttftSeconds
  let delivered = at
  let asks = 0
  for (let token = 2; token <= outputTokens; token++) {
    const context = promptTokens + token - 1
    const asked = askedOfCloud(share, token)
    at += edge.at(context) + (asked ? wake : 0)
    upFree = Math.max(at, upFree) + hiddenWire
    if (asked) {
      const work = ask.at(context)
      cloudFree = Math.max(upFree + hiddenLatency, cloudFree) + work
      use.cloudSeconds += work
      at = cloudFree + answer
      use.edgeSeconds += wake
      asks++
    }
    delivered = Math.max(delivered, at)
    use.stallSeconds = Math.max(use.stallSeconds, delivered - use.ttftSeconds - (token - 1) / rate)
  }
  use.e2eSeconds = delivered
  use.upBytes = prompt + (outputTokens - 1) * hidden
  use.downBytes = asks * id
  use.messages = outputTokens + asks
}

/** scale x curve(context) + fixed, for contexts asked in ascending order. */
class Steps {
  private readonly knots: Float64Array
  private readonly curve: Float64Array
  private readonly scale: number
  private readonly fixed: number
  private segment = -1

  constructor(costs: BlockCosts, curve: Float64Array, scale: number, fixed: number) {
    this.knots = costs.contextKnots
    this.curve = curve
    this.scale = scale
    this.fixed = fixed
  }

  at(context: number): number {
    const { knots, curve } = this
    this.segment = segmentAt(knots, this.segment, context)
    return this.scale * curveIn(knots, curve, this.segment, context) + this.fixed
  }
}
