import { edgeMemory, freeBytes } from '../plan/price/memory.ts'
import { pairUnits, type DevicePair } from '../plan/price/pair.ts'
import { EDGE, uniformPlan, type Plan } from '../plan/plan.ts'
import type { DecisionProblem } from '../plan/price/problem.ts'
import { Residency } from '../plan/price/residency.ts'

/**
 * Edge memory of one episode: resident weights, and K/V reserved for each request in flight. Whatever was
 * dispatched before, the next plan can at least be the pinned ends alone (or, without pinned ends, the cloud):
 * their K/V is set aside for every request that may yet be in flight.
 */
export class EdgeMemory {
  readonly residency: Residency
  private readonly pair: DevicePair
  private readonly limitBytes: number
  private readonly maxInFlight: number
  /** The pinned ends alone, or null without pinned ends. */
  private readonly pinnedPlan: Plan | null
  private readonly pinnedWeightBytes: number
  /** K/V of the pinned ends for the longest request, and per token of any. */
  private readonly pinnedKvBytes: number
  private readonly pinnedKvBytesPerToken: number
  private readonly wholeKvBytesPerToken: number
  private readonly held = new Map<number, { readonly plan: Plan; readonly kvBytes: number }>()

  constructor(problem: DecisionProblem, limitBytes: number, maxInFlight: number, preloaded: boolean) {
    const { pair } = problem
    this.pair = pair
    this.limitBytes = limitBytes
    this.maxInFlight = maxInFlight
    const pinned = pinnedNeed(problem)
    this.pinnedPlan = pinned.plan
    this.pinnedWeightBytes = pinned.weightBytes
    this.pinnedKvBytes = pinned.kvBytes
    this.pinnedKvBytesPerToken = pinned.kvBytes / pair.model.contextTokens
    const everything = uniformPlan(pair.model.layers, pairUnits(pair), EDGE)
    this.wholeKvBytesPerToken = edgeMemory(pair, everything).kvBytesPerToken
    this.residency = new Residency(pair)
    if (preloaded && this.residency.wholeBytes() <= limitBytes) this.residency.preload(everything)
  }

  /**
   * Memory that a plan's weights and K/V for `reservedTokens` may take, bytes (docs/model.md, 30). Weights of requests
   * in flight cannot be evicted. The plan that request `replanned` has (if any) makes room for the new one.
   * What the longest request would reserve for the pinned ends beyond this one is left free: once dispatched,
   * this one counts as much (kvBytes), and what is set aside for the others must not pay for that.
   */
  freeBytes(reservedTokens: number, replanned = -1): number {
    const others = this.held.size - (this.held.has(replanned) ? 1 : 0)
    const left = Math.max(0, this.maxInFlight - others - 1)
    const shorter = this.pinnedKvBytes - this.pinnedKvBytesPerToken * reservedTokens
    const room = this.limitBytes - this.kvBytes(replanned) - left * this.pinnedKvBytes - shorter
    const plans = this.plans(replanned)
    const { residency, pinnedPlan } = this
    return freeBytes({
      roomBytes: room,
      exitHeadBytes: residency.exitHeadBytes(plans),
      everythingBytes:
        residency.wholeBytes() + residency.headBytes() + this.wholeKvBytesPerToken * reservedTokens,
      othersBytes:
        others === 0
          ? null
          : () => residency.neededBytes(pinnedPlan === null ? plans : [...plans, pinnedPlan]),
      pinnedBytes: this.pinnedWeightBytes,
    })
  }

  /**
   * Takes the memory of a request's plan, in place of one that it had; returns the bytes of weights that must be
   * loaded for it.
   */
  take(request: number, plan: Plan, reservedTokens: number): number {
    this.held.delete(request)
    const loadBytes = this.residency.missingBytes(plan)
    const inFlight = this.plans()
    const kvBytes = edgeMemory(this.pair, plan).kvBytesPerToken * reservedTokens
    this.held.set(request, { plan, kvBytes })
    let kv = 0
    for (const one of this.held.values()) kv += one.kvBytes
    this.residency.load(plan, inFlight, this.limitBytes - kv)
    return loadBytes
  }

  /** Gives back a finished request's K/V; its weights stay until something else needs their place. */
  release(request: number): void {
    this.held.delete(request)
  }

  /** Plans of requests in flight but one. */
  private plans(except = -1): Plan[] {
    const plans: Plan[] = []
    for (const [request, { plan }] of this.held) if (request !== except) plans.push(plan)
    return plans
  }

  /** Reserved K/V of requests but one; a request counts at least what is set aside for any. */
  private kvBytes(except = -1): number {
    let bytes = 0
    for (const [request, { kvBytes }] of this.held) {
      if (request !== except) bytes += Math.max(kvBytes, this.pinnedKvBytes)
    }
    return bytes
  }
}

/** What the pinned ends take on the edge: weights once, and K/V of each request of the longest context. */
export function pinnedNeed(problem: Pick<DecisionProblem, 'pair' | 'edgeLayersFirst' | 'edgeLayersLast'>): {
  readonly plan: Plan | null
  readonly weightBytes: number
  readonly kvBytes: number
} {
  const { pair, edgeLayersFirst: first, edgeLayersLast: last } = problem
  if (first + last === 0) return { plan: null, weightBytes: 0, kvBytes: 0 }
  const { layers, contextTokens } = pair.model
  const plan = uniformPlan(layers, pairUnits(pair), EDGE)
  plan.unitsOnCloud.fill(pairUnits(pair), first, Math.max(first, layers - last))
  plan.ffn.fill(1, first, Math.max(first, layers - last))
  const { weightBytes, kvBytesPerToken } = edgeMemory(pair, plan)
  return { plan, weightBytes, kvBytes: kvBytesPerToken * contextTokens }
}
