import type { Side } from '../../plan/plan.ts'
import { EDGE } from '../../plan/plan.ts'
import type { ExecutionEvent } from './types.ts'

/** Notes what was done; does nothing where nobody asked. */
export type EventRecorder = (event: ExecutionEvent) => void

export const NO_RECORD: EventRecorder = () => {}

type Facts = Omit<ExecutionEvent, 'side' | 'kind'> & { readonly side: Side }

export function eventOf(kind: ExecutionEvent['kind'], facts: Facts): ExecutionEvent {
  return { ...facts, kind, side: facts.side === EDGE ? 'edge' : 'cloud' }
}
