import { attentionUnits } from '../../model/spec.ts'
import type { ModelSpec } from '../../model/spec.ts'

/** Tokens up to which a profile is measured unless more is asked for: what scenarios ask. */
export const DEFAULT_MAX_TOKENS = 4096

/** The knots of a profile. */
export interface ProfileGrid {
  /** Tokens of a prefill, ascending, from 1 to the context or to what is measured of it. */
  readonly tokens: readonly number[]
  /** Tokens in the cache before the decoded one, ascending, likewise. */
  readonly contexts: readonly number[]
  /** Attention units, ascending, 1 .. attentionUnits(model). */
  readonly units: readonly number[]
}

/**
 * Powers of two up to the context, and the context; one unit, half of them and all (time is linear in units, R2 >=
 * 0.989).
 */
export function fullGrid(model: ModelSpec, maxTokens = Infinity): ProfileGrid {
  const knots = tokenKnots(Math.min(model.contextTokens, maxTokens), 2)
  return { tokens: knots, contexts: knots, units: unitKnots(model) }
}

/** The same ends with few knots in between: for a first profile within half a minute. */
export function quickGrid(model: ModelSpec, maxTokens = Infinity): ProfileGrid {
  const last = Math.min(model.contextTokens, maxTokens)
  return {
    tokens: tokenKnots(last, 4),
    contexts: tokenKnots(last, 16),
    units: unitKnots(model),
  }
}

function tokenKnots(last: number, base: number): number[] {
  const knots: number[] = []
  for (let knot = 1; knot < last; knot *= base) knots.push(knot)
  return [...knots, last]
}

function unitKnots(model: ModelSpec): number[] {
  const all = attentionUnits(model)
  return [...new Set([1, Math.ceil(all / 2), all])]
}
