import { edgeJoules } from '../plan/price/energy.ts'
import type { Objective } from '../plan/price/objective.ts'
import type { EdgePower } from '../plan/price/pair.ts'
import type { RequestOutcome, Totals } from './types.ts'

/**
 * The run's cost up to now, accrued continuously: what the reward is made of.
 * Over a whole run it adds up to the sum of the requests' costs plus the idle device's energy.
 */
export class CostAccrual {
  private readonly objective: Objective
  private readonly power: EdgePower
  private lossSum = 0
  private convexSum = 0

  constructor(objective: Objective, power: EdgePower) {
    this.objective = objective
    this.power = power
  }

  /** A plan's loss is known when it is dispatched. */
  dispatched(accuracyLoss: number): void {
    this.lossSum += accuracyLoss
  }

  /** A re-plan changes the mean loss over a request's tokens; whoever pays the cost knows how many there are. */
  replanned(lossBefore: number, lossAfter: number): void {
    this.lossSum += lossAfter - lossBefore
  }

  /** The convex part of a request's latency is known when it ends. */
  finished(outcome: RequestOutcome, arrivalSeconds: number): void {
    const { latency } = this.objective
    if (latency.form !== 'convex') return
    this.convexSum += Math.max(0, outcome.lastTokenSeconds - arrivalSeconds - latency.deadlineSeconds) ** 2
  }

  /** Cost accrued up to `nowSeconds`. */
  cost(totals: Totals, nowSeconds: number): number {
    const { weights } = this.objective
    return (
      weights.latency * this.latencySeconds(totals) +
      weights.energy * joulesSoFar(this.power, totals, nowSeconds) +
      weights.cloud * totals.cloudBusySeconds +
      (weights.bytes * totals.upBytes) / 1e6 +
      weights.accuracy * this.lossSum
    )
  }

  private latencySeconds(totals: Totals): number {
    const { latency } = this.objective
    if (latency.form === 'mean') return totals.inSystemSeconds
    if (latency.form === 'qoe') return totals.awaitingFirstTokenSeconds + totals.stallSeconds
    return totals.inSystemSeconds + this.convexSum
  }
}

/** Edge joules of a run up to now, idle power included. */
function joulesSoFar(power: EdgePower, totals: Totals, nowSeconds: number): number {
  const { edgeBusySeconds: edgeSeconds, upBytes, downBytes, messages } = totals
  return edgeJoules(power, { edgeSeconds, upBytes, downBytes, messages }, nowSeconds)
}
