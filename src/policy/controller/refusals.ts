import { InputError } from '../../core/errors.ts'
import type { Situation } from '../../plan/price/situation.ts'

/** With layers pinned to the edge, its memory may be too small for any plan. */
export function noPlanFits(situation: Situation): InputError {
  return new InputError({
    where: 'free edge memory',
    expected: 'room for the layers pinned to the edge',
    found: `${situation.freeMemoryBytes} bytes`,
    remedy: 'pin fewer layers, or free memory on the edge',
  })
}
