import { ACCURACY_SCHEMA, type AccuracyTable } from '../../plan/profile/accuracy.ts'
import { BOUNDARY_LOSS } from '../../plan/profile/published.ts'
import type { Figure } from '../../plan/profile/types.ts'
import { UNIT_BITS } from './boundaryLoss.ts'
import type { Assessment, BoundaryLoss, Loss } from './types.ts'

/**
 * Converts measurements to the table that planners and simulators read (edgewise.accuracy/1). Its losses are
 * divergences: the log-perplexity added on text from the model's own distribution, which is what the model generates.
 * The log-perplexity added on the measured text is given in each source; it is too noisy for planning.
 */
export function measuredTable(found: Assessment): AccuracyTable {
  const basis =
    `edgewise accuracy, ${found.tokens} tokens of ${found.text}, teacher-forced, ` +
    `weights ${found.fingerprint.slice(0, 16)}, ${found.engine}`
  return {
    schema: ACCURACY_SCHEMA,
    modelId: found.modelId,
    boundary: BOUNDARY_LOSS.map((row) => boundaryRow(found, row, basis)),
    boundaryByLayer: found.boundaries.map(({ layer, bits, ...loss }) => ({
      layer,
      bits,
      loss: lossFigure(loss, `${basis}: residual crosses alone`),
    })),
    exits: found.exits.map(({ layer, threshold, leaving, leaveShare, standalone, collaborative }) => ({
      layer,
      threshold,
      leaveShare: measured(leaveShare, `${basis}: ${leaving} tokens as confident`),
      standaloneLoss: lossFigure(standalone, `${basis}: every token by the exit`),
      collaborativeLoss: lossFigure(collaborative, `${basis}: confident tokens by the exit`),
    })),
    ranking: {
      unitsByLayer: rankedUnits(found),
      provenance: {
        kind: 'measured',
        source: `${basis}: by the divergence where the unit's share is carried at ${UNIT_BITS} bits`,
      },
    },
  }
}

/** Each layer's units from least to most sensitive; equal ones by index. */
export function rankedUnits({ units }: Pick<Assessment, 'units'>): number[][] {
  const layers = 1 + Math.max(...units.map(({ layer }) => layer))
  return Array.from({ length: layers }, (_, layer) =>
    units
      .filter((unit) => unit.layer === layer)
      .sort((a, b) => a.divergence - b.divergence || a.unit - b.unit)
      .map(({ unit }) => unit),
  )
}

/** Mean over the places where a tensor may cross. */
export function meanBoundaryLoss(crossings: readonly BoundaryLoss[], bits: number): Loss {
  const rows = crossings.filter((row) => row.bits === bits)
  const mean = (of: (row: BoundaryLoss) => number) =>
    rows.reduce((sum, row) => sum + of(row), 0) / rows.length
  return {
    nats: mean(({ nats }) => nats),
    // The losses are not independent (one text): the mean of their errors is an upper bound of the mean's error.
    standardError: mean(({ standardError }) => standardError),
    divergence: mean(({ divergence }) => divergence),
  }
}

type BoundaryRow = AccuracyTable['boundary'][number]

/** A row for bits that were not measured stays assumed. */
function boundaryRow(found: Assessment, row: BoundaryRow, basis: string): BoundaryRow {
  const { bits } = row
  if (bits === 32)
    return { bits, lossPerCrossing: measured(0, 'exact: the message holds the float32 values') }
  if (!found.boundaries.some((crossing) => crossing.bits === bits)) return row
  return { bits, lossPerCrossing: meanFigure(found, bits, basis) }
}

function meanFigure({ boundaries }: Assessment, bits: number, basis: string): Figure {
  const rows = boundaries.filter((row) => row.bits === bits).map(({ divergence }) => divergence)
  const range = `${Math.min(...rows).toExponential(2)}..${Math.max(...rows).toExponential(2)}`
  return lossFigure(
    meanBoundaryLoss(boundaries, bits),
    `${basis}: mean of ${rows.length} boundaries, ${range}`,
  )
}

function lossFigure({ nats, standardError, divergence }: Loss, basis: string): Figure {
  const seen = `added on the text itself ${nats.toExponential(2)} +- ${standardError.toExponential(1)} nats`
  return measured(divergence, `${basis}; divergence from the exact model; ${seen}`)
}

function measured(value: number, source: string): Figure {
  return { value, provenance: { kind: 'measured', source } }
}
