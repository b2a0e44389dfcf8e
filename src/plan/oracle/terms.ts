import { energyPrices } from '../price/energy.ts'
import { boundaryLoss } from '../profile/accuracy.ts'
import type { BoundaryBits } from '../plan.ts'
import type { OracleInput } from '../price/question.ts'
import type { Problem } from './solve.ts'

/** Coefficients of the additive part of the objective; the rest is the penalty on time. */
export interface Terms {
  readonly prefillSecond: number
  readonly decodeSecond: number
  readonly edgeSecond: number
  readonly cloudSecond: number
  readonly upByte: number
  readonly downByte: number
  readonly message: number
  readonly crossing: number
  /** Weight of prefill and decode seconds in the penalised time. */
  readonly timeOfPrefill: number
  readonly timeOfDecode: number
}

/** The objective and the prices as coefficients, with the accuracy loss of boundary tensors with `bits` bits. */
export function termsOf(input: OracleInput, bits: BoundaryBits): Terms {
  const { weights, latency } = input.objective
  const { power, accuracy } = input.pair
  // Idle power has the objective's weight; marginal joules have the price of an overrun budget too.
  const { idleSecond } = energyPrices(power, weights.energy)
  const energy = energyPrices(power, weights.energy + input.prices.edgeJoule)
  const qoe = latency.form === 'qoe'
  return {
    prefillSecond: weights.latency + idleSecond,
    decodeSecond: (qoe ? 0 : weights.latency) + idleSecond,
    edgeSecond: energy.computeSecond + input.prices.edgeSecond,
    cloudSecond: weights.cloud + input.prices.cloudSecond,
    upByte: weights.bytes / 1e6 + energy.byte + input.prices.upByte,
    downByte: energy.byte,
    message: energy.message,
    crossing: (weights.accuracy + input.prices.accuracyNat) * boundaryLoss(accuracy, bits),
    timeOfPrefill: latency.form === 'convex' ? 1 : 0,
    timeOfDecode: latency.form === 'mean' ? 0 : 1,
  }
}

/** The penalty on time, with lines below it that give good relaxations. */
export function penaltyOf(input: OracleInput): Pick<Problem, 'penalty' | 'tangents' | 'interceptAt'> {
  const { weights, latency } = input.objective
  const w = weights.latency
  if (latency.form === 'mean' || w === 0) {
    return { penalty: () => 0, tangents: [{ slope: 0, intercept: 0 }], interceptAt: () => [0, 0] }
  }
  if (latency.form === 'qoe') {
    const allowance = (input.state.outputTokens - 1) / input.readingTokensPerSecond
    const tangents = [0, 0.25, 0.5, 0.75, 1].map((part) => ({
      slope: part * w,
      intercept: -part * w * allowance,
    }))
    const interceptAt = (slope: number): readonly [number, number] => [-slope * allowance, -allowance]
    return { penalty: (time) => w * Math.max(0, time - allowance), tangents, interceptAt }
  }
  const { deadlineSeconds } = latency
  const tangents = [0, 0.1, 0.3, 1, 3, 10, 30, 100].map((late) => ({
    slope: 2 * w * late,
    intercept: -w * late * (late + 2 * deadlineSeconds),
  }))
  const interceptAt = (slope: number): readonly [number, number] => {
    const late = slope / (2 * w)
    return [-w * late * (late + 2 * deadlineSeconds), -late - deadlineSeconds]
  }
  return { penalty: (time) => w * Math.max(0, time - deadlineSeconds) ** 2, tangents, interceptAt }
}
