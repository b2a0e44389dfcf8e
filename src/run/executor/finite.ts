import { subgraphLabel } from '../../plan/lower.ts'
import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import { ExecutionError } from './errors.ts'
import type { Activations } from './subgraphRunner.ts'

/**
 * The error for a run that gave a value that is not finite (NaN or infinite), else null. Sampling would take such logits
 * for text. The message names the layers of the run, the tensor and the token, and says whether the input was finite:
 * if not, the fault lies before these layers.
 */
export function finiteProblem(
  subgraph: Subgraph,
  inputs: Activations,
  outputs: Activations,
  position: number,
): ExecutionError | null {
  const name = firstNotFinite(outputs)
  if (name === null) return null
  const input = firstNotFinite(inputs)
  const from =
    input === null
      ? 'its input is finite: these layers, or their K/V cache, made it'
      : `its input '${input}' is not finite either: the layers before made it`
  return new ExecutionError(
    'E_NOT_FINITE',
    `${subgraphLabel(subgraph)}\n  expected: finite numbers in '${name}' of the run from token ${position} on\n` +
      `  found: NaN or an infinity; ${from}\n` +
      '  remedy: check the weights, or try another precision (--precision fp32)',
  )
}

function firstNotFinite(values: Activations): keyof Activations | null {
  for (const name of ['x', 'partial', 'hidden', 'logits'] as const) {
    const tensor = values[name]
    if (tensor !== undefined && !isFiniteTensor(tensor)) return name
  }
  return null
}

/** Zero times a finite number is zero, so one sum without a branch tells: this runs over the logits of every token. */
function isFiniteTensor(tensor: Float32Array): boolean {
  let sum = 0
  for (let i = 0; i < tensor.length; i++) sum += 0 * tensor[i]
  return sum === 0
}
