import type { ResolvedPlan } from '../../run/executor/messages.ts'
import { EDGE } from '../../plan/plan.ts'
import { formatSeconds } from '../../report/numbers.ts'
import type { ServiceEvent } from '../../serve/edge/types.ts'

/** A plan in a few words: `cut:3@8`, `edge`, `cloud`, `exit:2@0.8@8` (its bits last), or how many layers lie where. */
export function planText({ plan, cloudUnits }: ResolvedPlan, units: number): string {
  const bits = plan.boundaryBits === 32 ? '' : `@${plan.boundaryBits}`
  if (plan.exit !== null) {
    const { layer, threshold, mode } = plan.exit
    return mode === 'standalone' ? `exit:${layer}:standalone` : `exit:${layer}@${threshold}${bits}`
  }
  const whole = cloudUnits.map((there, layer) =>
    there.length === 0 && plan.ffn[layer] === 0
      ? 'e'
      : there.length === units && plan.ffn[layer] === 1
        ? 'c'
        : 's',
  )
  const strip = whole.join('')
  const layers = whole.length
  if (strip === 'e'.repeat(layers) && plan.head === EDGE && plan.embed === EDGE) return 'edge'
  const cut = strip.indexOf('c')
  if (cut === 0 && strip === 'c'.repeat(layers) && plan.embed !== EDGE) return 'cloud'
  if (cut > 0 && strip === 'e'.repeat(cut) + 'c'.repeat(layers - cut) && plan.head !== EDGE)
    return `cut:${cut}${bits}`
  return `${strip}${bits}`
}

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
