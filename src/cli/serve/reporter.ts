import type { Edge } from '../../serve/edge/create.ts'
import { isTransition, type ServiceEvent } from '../../serve/edge/types.ts'
import type { Io } from '../io.ts'
import { eventJson, eventText } from './eventText.ts'
import { watchService } from './watch.ts'

/** What becomes of events: a panel or lines with --watch, JSON lines with --json, else the news on standard error. */
export function reporterOf(
  options: { readonly watch?: boolean; readonly json?: boolean },
  edge: Edge,
  io: Io,
): (event: ServiceEvent) => void {
  const { units } = edge
  if (options.json === true) {
    return (event) => {
      if (!isTransition(event)) return
      io.stdout.write(`${JSON.stringify(eventJson(event, units))}\n`)
      // Whoever reads the lines by program still wants to see this by eye.
      if (event.kind === 'degraded') io.stderr.write(`${eventText(event, units)}\n`)
    }
  }
  if (options.watch === true) {
    return watchService(io, {
      link: () => ({ state: edge.linkState, rttSeconds: edge.rttSeconds }),
      queue: () => edge.queue,
      budgetUses: () => edge.budgetUses,
      units,
    })
  }
  return (event) => {
    if (!isTransition(event) || event.kind === 'decision' || event.kind === 'request-ended') return
    const words = eventText(event, units)
    if (words !== null) io.stderr.write(`${words}\n`)
  }
}
