import { join } from 'node:path'
import { writeAtomic } from '../../core/files.ts'
import type { Conditions } from '../../policy/controller/edge.ts'
import { decideTimed, openBundle } from '../../policy/controller/edge.ts'
import { heatMapSpec } from '../../report/heatmapChart.ts'
import { renderTextMaps } from '../../report/heatmapText.ts'
import type { PicturedPlan } from '../../report/planPicture.ts'
import { renderPng, renderSvg } from '../../report/render.ts'
import { formatSeconds } from '../../report/numbers.ts'
import type { Io } from '../io.ts'
import { printLine } from '../io.ts'
import { decideJson } from '../json/bundle.ts'
import { describePlan, pictureOf } from './oracleTable.ts'

/** A request of typical length during a burst; on the device alone, it would not have to wait. */
const REQUEST = {
  promptTokens: 768,
  outputTokens: 200,
  waitingRequests: 4,
  inFlight: 1,
  edgeBacklogSeconds: 8,
}

/** Seconds since the last answered heartbeat. */
const OUTAGE = 10

const CONDITIONS: readonly (readonly [string, Conditions])[] = [
  ['good link', { ...REQUEST, upMbps: 50, downMbps: 200, rttMs: 20 }],
  ['poor link', { ...REQUEST, upMbps: 0.5, downMbps: 2, rttMs: 200 }],
  // The estimates stay as they were; only the age of the last heartbeat shows the outage.
  ['outage', { ...REQUEST, upMbps: 50, downMbps: 200, rttMs: 20, sinceHeartbeatSeconds: OUTAGE }],
]

/** Width in characters to fill with maps side by side. */
const COLUMNS = 124

/**
 * What the exported policy decides under the quickstart's conditions, by condition; and the paths of its two pictures.
 */
export interface DecisionMaps {
  readonly decisions: Readonly<Record<string, ReturnType<typeof decideJson>>>
  readonly svg: string
  readonly png: string
}

/** Lets a bundle decide under three link conditions; prints the maps and writes pictures beside the run. */
export async function decideConditions(folder: string, out: string, io: Io): Promise<DecisionMaps> {
  const bundle = await openBundle(folder)
  const pictures: PicturedPlan[] = []
  const decisions: Record<string, ReturnType<typeof decideJson>> = {}
  printLine(
    io,
    `a prompt of ${REQUEST.promptTokens} tokens and an answer of about ${REQUEST.outputTokens}; ${REQUEST.waitingRequests} requests wait, ` +
      `${formatSeconds(REQUEST.edgeBacklogSeconds)} of edge work is under way\n`,
  )
  for (const [name, conditions] of CONDITIONS) {
    const timed = await decideTimed(bundle, bundle.situation(conditions), io.clock)
    const { upMbps, downMbps, rttMs, sinceHeartbeatSeconds: silent } = conditions
    const link =
      silent === undefined ? `${upMbps} / ${downMbps} Mbit/s, ${rttMs} ms` : `nothing heard for ${silent} s`
    pictures.push({ ...pictureOf(bundle.problem, timed.plan, name), subtitle: link })
    decisions[name] = decideJson(bundle, conditions, timed)
    printLine(
      io,
      `${name} (${link}): ${describePlan(bundle.problem, timed.plan)}; decided in ${formatSeconds(timed.medianSeconds)}`,
    )
  }
  await bundle.close()
  printLine(io, `\n${renderTextMaps(pictures, { colour: io.colour, columns: COLUMNS })}`)
  const svg = join(out, 'decisions.svg')
  const png = join(out, 'decisions.png')
  const title = `${bundle.manifest.model.id}: where each part runs (${REQUEST.promptTokens} tokens in, about ${REQUEST.outputTokens} out)`
  const drawing = await renderSvg(heatMapSpec(pictures, title))
  writeAtomic(svg, drawing)
  writeAtomic(png, await renderPng(drawing))
  printLine(io, `\ndrawn in ${svg} and ${png}`)
  return { decisions, svg, png }
}
