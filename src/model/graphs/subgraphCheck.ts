import { InputError } from '../../core/errors.ts'
import type { Subgraph, SubgraphPart } from './subgraphTypes.ts'
import type { WeightSource } from './source.ts'
import { attentionUnits } from '../spec.ts'
import type { ModelSpec } from '../spec.ts'

/** Largest number of sequences in one graph; each adds a few nodes per layer. */
const MAX_BATCH = 256

/** Throws InputError if no graph can be built for this subgraph or batch. */
export function checkSubgraph({ model, exitLayers }: WeightSource, subgraph: Subgraph, batch: number): void {
  const { parts, input } = subgraph
  if (!Number.isInteger(batch) || batch < 1 || batch > MAX_BATCH)
    throw problem('batch', `an integer in 1..${MAX_BATCH}`, String(batch))
  if (parts.length === 0) throw problem('parts', 'at least one part', 'none')
  if ((input === 'ids') !== (parts[0].kind === 'embed'))
    throw problem('input', "'ids' exactly where the first part is embed", `${input}, then ${label(parts[0])}`)
  if ((input === 'x+hidden') !== isSecondHalf(parts[0]))
    throw problem('input', "'x+hidden' exactly where the first part is an FFN's second half", input)
  let seen = -2
  for (const [i, part] of parts.entries()) {
    checkPart(model, part, i, parts.length)
    if (part.kind === 'exit' && !exitLayers.includes(part.layer))
      throw problem(
        `part ${i}`,
        `an exit of the model: after ${exitLayers.join(', ') || 'no layer'}`,
        label(part),
      )
    const at = order(model, part)
    if (at <= seen) throw problem(`part ${i}`, 'parts in the order of the model', label(part))
    seen = at
  }
}

function checkPart(model: ModelSpec, part: SubgraphPart, i: number, count: number): void {
  const where = `part ${i}`
  if (i > 0 && isSecondHalf(part))
    throw problem(where, "an FFN's second half only as the first part", label(part))
  if (i < count - 1 && endsSubgraph(part)) throw problem(where, 'a part that others may follow', label(part))
  if (part.kind === 'embed' || part.kind === 'head' || part.kind === 'exit') return
  const limit = model.layers - 1
  if (!Number.isInteger(part.layer) || part.layer < 0 || part.layer > limit)
    throw problem(where, `a layer in 0..${limit}`, String(part.layer))
  if (part.kind === 'attention') checkUnits(model, part.units, part.residual, where)
}

function checkUnits(model: ModelSpec, units: readonly number[], residual: boolean, where: string): void {
  const all = attentionUnits(model)
  const bad = units.find((unit) => !Number.isInteger(unit) || unit < 0 || unit >= all)
  if (bad !== undefined) throw problem(where, `units in 0..${all - 1}`, String(bad))
  if (new Set(units).size !== units.length) throw problem(where, 'distinct units', units.join(', '))
  if (units.length === 0 && !residual) throw problem(where, 'units, or the residual', 'neither')
}

function isSecondHalf(part: SubgraphPart): boolean {
  return part.kind === 'ffn' && part.part === 'second'
}

function endsSubgraph(part: SubgraphPart): boolean {
  if (part.kind === 'attention') return !part.residual
  if (part.kind === 'ffn') return part.part === 'first'
  return part.kind === 'head' || part.kind === 'exit'
}

/**
 * Position of a part in the model: embedding, then attention and FFN of each layer, an exit after its layers, the
 * lm_head.
 */
function order(model: ModelSpec, part: SubgraphPart): number {
  if (part.kind === 'embed') return -1
  if (part.kind === 'head') return 3 * model.layers + 3
  if (part.kind === 'exit') return 3 * part.layer
  return 3 * part.layer + (part.kind === 'attention' ? 1 : 2)
}

function label(part: SubgraphPart): string {
  return 'layer' in part ? `${part.kind} of layer ${part.layer}` : part.kind
}

function problem(where: string, expected: string, found: string): InputError {
  return new InputError({
    where: `subgraph: ${where}`,
    expected,
    found,
    remedy: 'correct the lowered plan that contains it',
  })
}
