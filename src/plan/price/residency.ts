import type { Plan } from '../plan.ts'
import {
  exitHeadBytes,
  heldBytes,
  joinWeights,
  noWeights,
  partBytes,
  unionOfWeights,
  weightsOf,
  wholeModelBytes,
  type EdgeMemoryTerms,
  type HeldWeights,
  type PartBytes,
} from './memory.ts'

/**
 * Which weights are in edge memory: missing ones cost loading time, and those that no plan needs are evicted when
 * memory is short.
 */
export class Residency {
  private readonly terms: EdgeMemoryTerms
  private readonly parts: PartBytes
  private readonly whole: number
  private held: HeldWeights
  private bytes = 0
  /** True if embedding, lm_head and every layer are in memory: only heads of early exits can be missing. */
  private complete = false

  constructor(terms: EdgeMemoryTerms) {
    this.terms = terms
    this.parts = partBytes(terms)
    this.whole = wholeModelBytes(terms)
    this.held = noWeights(terms.model)
  }

  /** Assumes that all weights of a plan are loaded already. */
  preload(plan: Plan): void {
    this.hold(joinWeights(this.held, this.weightsOf(plan)))
  }

  /** Bytes that must be loaded before the plan can run. */
  missingBytes(plan: Plan): number {
    if (this.complete && plan.exit === null) return 0
    return heldBytes(this.parts, joinWeights(this.held, this.weightsOf(plan))) - this.bytes
  }

  /** Loads a plan's weights; if they do not fit beside everything in memory, keeps only what `inFlight` needs. */
  load(plan: Plan, inFlight: readonly Plan[], weightLimitBytes: number): void {
    if (this.complete && plan.exit === null && this.bytes <= weightLimitBytes) return
    const all = joinWeights(this.held, this.weightsOf(plan))
    const fits = heldBytes(this.parts, all) <= weightLimitBytes
    this.hold(fits ? all : unionOfWeights(this.terms.model, [...inFlight, plan]))
  }

  residentBytes(): number {
    return this.bytes
  }

  /** Bytes of all weights that at least one of the plans needs. */
  neededBytes(plans: readonly Plan[]): number {
    return heldBytes(this.parts, unionOfWeights(this.terms.model, plans))
  }

  /** Bytes of the heads of early exits that at least one of the plans needs. */
  exitHeadBytes(plans: readonly Plan[]): number {
    return exitHeadBytes(this.parts, unionOfWeights(this.terms.model, plans))
  }

  /** Bytes of one head's matrix. */
  headBytes(): number {
    return this.parts.head
  }

  /** Bytes of the whole model on the edge, without exits. */
  wholeBytes(): number {
    return this.whole
  }

  private weightsOf(plan: Plan): HeldWeights {
    return weightsOf(this.terms.model, plan)
  }

  private hold(held: HeldWeights): void {
    this.held = held
    this.bytes = heldBytes(this.parts, held)
    this.complete =
      heldBytes(this.parts, { ...held, exits: noWeights(this.terms.model).exits }) === this.whole
  }
}
