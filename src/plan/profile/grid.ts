import { attentionUnits } from '../../model/spec.ts'
import type { ModelSpec } from '../../model/spec.ts'

/** The knots of a profile. Every axis covers all values that a plan may need. */
export interface ProfileGrid {
  /** Tokens of a prefill, ascending, 1 .. contextTokens. */
  readonly tokens: readonly number[]
  /** Tokens in the cache before the decoded one, ascending, 1 .. contextTokens. */
  readonly contexts: readonly number[]
  /** Attention units, ascending, 1 .. attentionUnits(model). */
  readonly units: readonly number[]
}

/**
 * Powers of two up to the context, and the context; one unit, half of them and all (time is linear in units, R2 >=
 * 0.989).
 */
export function fullGrid(model: ModelSpec): ProfileGrid {
  const knots = powers(model.contextTokens, 2)
  return { tokens: knots, contexts: knots, units: unitKnots(model) }
}

/** The same ends with few knots in between: for a first profile within half a minute. */
export function quickGrid(model: ModelSpec): ProfileGrid {
  return {
    tokens: powers(model.contextTokens, 4),
    contexts: powers(model.contextTokens, 16),
    units: unitKnots(model),
  }
}

function powers(last: number, base: number): number[] {
  const knots: number[] = []
  for (let knot = 1; knot < last; knot *= base) knots.push(knot)
  return [...knots, last]
}

function unitKnots(model: ModelSpec): number[] {
  const all = attentionUnits(model)
  return [...new Set([1, Math.ceil(all / 2), all])]
}
