import { formatSeconds } from '../../report/numbers.ts'
import { planText } from '../../serve/edge/planWords.ts'
import type { ServiceEvent } from '../../serve/edge/types.ts'

/** One line for a person; null for what is of no interest by itself. */
export function eventText(event: ServiceEvent, units: number): string | null {
  switch (event.kind) {
    case 'token':
    case 'request-queued':
      return null
    case 'link-up':
      return event.attempts > 1
        ? `cloud is back after ${formatSeconds(event.awaySeconds)}`
        : 'cloud connected'
    case 'link-down':
      return `cloud lost: ${oneLine(event.reason)}`
    case 'link-refused':
      return `cloud refuses: ${oneLine(event.reason)}`
    case 'link-retry':
      return `tries again in ${formatSeconds(event.delaySeconds)} (attempt ${event.attempt})`
    case 'request-refused':
      return `request ${event.request}: the cloud gave it up (${event.code})`
    case 'request-resumed':
      return `request ${event.request}: resumed after ${event.tokens} tokens by ${event.rebuild}, ${event.bytes} bytes again`
    case 'request-switched':
      return `request ${event.request}: from token ${event.fromToken} on ${planText(event.placed, units)}, caches by ${event.rebuild}`
    case 'replay-diverged':
      return `request ${event.request}: the replay's tokens differ at ${event.position}; anew from ids`
    case 'decision':
      return `request ${event.request}: ${event.reason}: ${planText(event.placed, units)} (${event.source}, ${formatSeconds(event.decideSeconds)})`
    case 'request-ended':
      return `request ${event.request}: ${event.end}${event.detail === '' ? '' : ` (${event.detail})`} after ${event.tokens} tokens`
    case 'degraded':
      return `${event.part}: ${event.reason}`
  }
}

function oneLine(text: string): string {
  return text.split('\n')[0]
}

/** An event as one line of `--json`: plans in words, nothing else changed. */
export function eventJson(event: ServiceEvent, units: number): Record<string, unknown> {
  if (!('placed' in event)) return { ...event }
  const { placed, ...rest } = event
  return { ...rest, plan: planText(placed, units) }
}
