import { InputError } from '../../core/errors.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { checkLengths, type ResolvedPlan } from './messages.ts'
import type { GenerationRequest } from './types.ts'

/** Throws InputError for an impossible request. */
export function checkRequest(model: ModelSpec, request: GenerationRequest): void {
  const { prompt, maxNewTokens } = request
  if (prompt.length === 0) refuse('prompt', 'at least one token', 'none')
  const unknown = prompt.find((id) => !Number.isInteger(id) || id < 0 || id >= model.vocabulary)
  if (unknown !== undefined) refuse('prompt', `ids in 0..${model.vocabulary - 1}`, String(unknown))
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1)
    refuse('maxNewTokens', 'at least 1', String(maxNewTokens))
  checkLengths(model, prompt.length, maxNewTokens, 'request')
  checkPlan(model, request)
}

/** Throws InputError for a plan that does not fit this model. */
export function checkPlan(model: ModelSpec, { plan, cloudUnits }: ResolvedPlan): void {
  if (plan.ffn.length !== model.layers || cloudUnits.length !== model.layers)
    refuse(
      'plan',
      `${model.layers} layers, those of ${model.id}`,
      `${plan.ffn.length} and ${cloudUnits.length}`,
    )
  const odd = cloudUnits.findIndex((units, layer) => units.length !== plan.unitsOnCloud[layer])
  if (odd >= 0) refuse(`plan, layer ${odd}`, `${plan.unitsOnCloud[odd]} units`, `${cloudUnits[odd].length}`)
}

function refuse(where: string, expected: string, found: string): never {
  throw new InputError({ where: `request: ${where}`, expected, found })
}
