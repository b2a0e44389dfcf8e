import { describe, expect, it } from 'vitest'
import { loadModel } from '../../../src/model/catalog.ts'
import { datasheetProfile } from '../../../src/plan/profile/datasheet.ts'
import { loadDevice } from '../../../src/plan/profile/loadDevice.ts'
import { CALIBRATION_SCHEMA, type Calibration, type Profile } from '../../../src/plan/profile/types.ts'
import { calibrationWarning } from '../../../src/learn/runs/warning.ts'

const modelled = datasheetProfile(loadDevice('jetson-orin-nx'), loadModel('gpt2'))
const head = { value: 1e-3, provenance: { kind: 'measured', source: 'a test' } as const }
const measured: Profile = { ...modelled, blocks: { ...modelled.blocks, head } }
const calibrated = (verdict: Calibration['verdict']): Profile => ({
  ...measured,
  calibration: { schema: CALIBRATION_SCHEMA, at: '2026-01-02T03:04:05Z', terms: [], verdict },
})

describe('what a training says of its edge profile', () => {
  it.each([
    ['a data sheet', modelled, 'is modelled: it cannot be calibrated here'],
    ['a measured one', measured, 'was never held to the real runtime'],
    ['one that missed', calibrated('missed'), 'missed targets of its calibration of 2026-01-02T03:04:05Z'],
  ])('%s', (_, profile, words) => {
    const warning = calibrationWarning(profile)
    expect(warning).toContain(`the edge profile (gpt2 on ${profile.device.id})`)
    expect(warning).toContain(words)
    expect(warning).not.toContain('\n')
  })

  it('is nothing where the simulator met its targets with it', () => {
    expect(calibrationWarning(calibrated('met'))).toBeNull()
  })
})
