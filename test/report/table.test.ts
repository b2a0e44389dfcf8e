import { describe, expect, it } from 'vitest'
import { renderTable } from '../../src/report/table.ts'

const data = {
  columns: [{ title: 'policy' }, { title: 'cost', align: 'right' }] as const,
  rows: [
    ['edge-only', '19.0'],
    ['trained', '6.7'],
  ],
  emphasis: [1],
}

describe('a table', () => {
  it('is plain text when piped', () => {
    expect(renderTable(data)).toBe('policy     cost\nedge-only  19.0\ntrained     6.7')
  })

  it('has a rule on a terminal, and colour only where asked', () => {
    const plain = renderTable(data, { isTerminal: true, colour: false })
    expect(plain.split('\n')[1]).toBe('─'.repeat(15))
    expect(plain).not.toContain('\u001b')
    expect(renderTable(data, { isTerminal: true, colour: true })).toContain('\u001b[1mtrained')
  })

  it('refuses a row of another width', () => {
    expect(() => renderTable({ ...data, rows: [['a']] })).toThrow('row 0: expected 2 cells, found 1')
  })
})
