import type { OpenedService } from '../../serve/edge/open.ts'
import type { ServiceEvent } from '../../serve/edge/types.ts'
import type { Io } from '../io.ts'
import { watchService } from './watch.ts'
import { eventJson, eventText } from './eventText.ts'

/** What becomes of events: a panel or lines with --watch, JSON lines with --json, else the news on standard error. */
export function reporterOf(
  options: { readonly watch?: boolean; readonly json?: boolean },
  { service, link, rttSeconds }: OpenedService,
  units: number,
  io: Io,
): (event: ServiceEvent) => void {
  if (options.json === true) {
    return (event) => {
      if (event.kind !== 'token') io.stdout.write(`${JSON.stringify(eventJson(event, units))}\n`)
    }
  }
  if (options.watch === true) {
    return watchService(io, {
      link: () => ({ state: link?.state ?? null, rttSeconds: rttSeconds() }),
      queue: () => service.queue,
      units,
    })
  }
  return (event) => {
    if (event.kind === 'decision' || event.kind === 'request-ended') return
    const words = eventText(event, units)
    if (words !== null) io.stderr.write(`${words}\n`)
  }
}
