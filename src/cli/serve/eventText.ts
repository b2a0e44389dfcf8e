import { printable } from '../../core/errors.ts'
import { serviceEventJsonSchema } from '../json/serve.ts'
import { formatSeconds } from '../../report/numbers.ts'
import { planText } from '../../serve/edge/planWords.ts'
import type { TransitionEvent } from '../../serve/edge/types.ts'

/** One line for a person; null for what is of no interest by itself. */
export function eventText(event: TransitionEvent, units: number): string | null {
  switch (event.kind) {
    case 'request-queued':
      return null
    case 'link-up':
      return event.attempts > 1
        ? `cloud is back after ${formatSeconds(event.awaySeconds)}`
        : 'cloud connected'
    case 'link-down':
      return `cloud lost: ${printable(event.reason.split('\n')[0])}`
    case 'link-refused':
      return `cloud refuses: ${printable(event.reason.split('\n')[0])}`
    case 'link-retry':
      return `tries again in ${formatSeconds(event.delaySeconds)} (attempt ${event.attempt})`
    case 'request-refused':
      return `${requestName(event.request)}: the cloud gave it up (${printable(event.code)})`
    case 'request-resumed':
      return `${requestName(event.request)}: resumed after ${event.tokens} tokens by ${event.rebuild}, ${event.bytes} bytes again`
    case 'request-switched':
      return `${requestName(event.request)}: from token ${event.fromToken} on ${planText(event.placed, units)}, caches by ${event.rebuild}`
    case 'replay-diverged':
      return `${requestName(event.request)}: the replay's tokens differ at ${event.position}; anew from ids`
    case 'decision':
      return `request ${event.request}: ${event.reason}: ${planText(event.placed, units)} (${event.source}, ${formatSeconds(event.decideSeconds)})`
    case 'request-ended':
      return `request ${event.request}: ${event.end}${event.detail === '' ? '' : ` (${printable(event.detail)})`} after ${event.tokens} tokens`
    case 'degraded':
      // An error of this program in full, with its remedy.
      return `${event.part}: ${printable(event.reason.replaceAll(/\n\s*/g, '; '), 1000)}`
  }
}

/** Null: the request ended before the event came. */
function requestName(request: number | null): string {
  return request === null ? 'a request that has ended' : `request ${request}`
}

/** An event as one line of `--json`: the fields of the format that it has, its plan in words. */
export function eventJson(event: TransitionEvent, units: number): Record<string, unknown> {
  const line = Object.fromEntries(
    Object.entries(event).filter(([name, value]) => name in serviceEventJsonSchema.shape && value !== null),
  )
  return 'placed' in event ? { ...line, plan: planText(event.placed, units) } : line
}
