import type { Side } from '../../plan/plan.ts'
import { EDGE } from '../../plan/plan.ts'
import type { ExecutionEvent } from './types.ts'

/** Records an event; does nothing if events are not recorded. */
export type EventRecorder = (event: ExecutionEvent) => void

/** A recorder that ignores events. */
export const NO_RECORD: EventRecorder = () => {}

type Facts = Omit<ExecutionEvent, 'side' | 'kind'> & { readonly side: Side }

/** Creates an event. */
export function eventOf(kind: ExecutionEvent['kind'], facts: Facts): ExecutionEvent {
  return { ...facts, kind, side: facts.side === EDGE ? 'edge' : 'cloud' }
}
