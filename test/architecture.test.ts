import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { PACKAGE_OWNERS, ROOMS } from './rooms.ts'

const LINE_LIMIT = 400
/** Where a clock and chance may be read: they are handed on from here. */
const MAY_READ_CLOCK = ['src/base/clock.ts', 'src/cli/']

const root = resolve(import.meta.dirname, '..')

interface Import {
  readonly specifier: string
  readonly typeOnly: boolean
}

function sourceFiles(): string[] {
  return ['src', 'envs'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => join(folder, file).split(sep).join('/')),
  )
}

const parsed = new Map<string, ts.SourceFile>()

/** Each text is parsed once, whichever checks look at it. */
function parse(text: string): ts.SourceFile {
  const file = parsed.get(text) ?? ts.createSourceFile('x.ts', text, ts.ScriptTarget.Latest)
  parsed.set(text, file)
  return file
}

/** Static, dynamic, re-exported and type imports of one source text. */
function importsOf(text: string): Import[] {
  const found: Import[] = []
  const visit = (node: ts.Node): void => {
    if (
      (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) &&
      node.moduleSpecifier !== undefined
    ) {
      const typeOnly = ts.isImportDeclaration(node)
        ? node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
        : node.isTypeOnly
      found.push({ specifier: (node.moduleSpecifier as ts.StringLiteral).text, typeOnly })
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const argument = node.arguments[0]
      if (ts.isStringLiteralLike(argument)) found.push({ specifier: argument.text, typeOnly: false })
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      found.push({ specifier: (node.argument.literal as ts.StringLiteral).text, typeOnly: true })
    }
    ts.forEachChild(node, visit)
  }
  visit(parse(text))
  return found
}

function roomOf(path: string): string | undefined {
  return Object.keys(ROOMS).find((room) => path.startsWith(`${ROOMS[room].folder}/`))
}

/** What is wrong with one file's imports. */
function importProblems(path: string, text: string): string[] {
  const room = roomOf(path)
  if (room === undefined) return [`${path}: lies in no room of the table`]
  const rule = ROOMS[room]
  return importsOf(text).flatMap(({ specifier, typeOnly }) => {
    if (specifier.startsWith('node:')) return []
    if (!specifier.startsWith('.')) return packageProblem(path, room, specifier, typeOnly)
    const target = relative(root, resolve(root, dirname(path), specifier))
      .split(sep)
      .join('/')
    const other = roomOf(target)
    if (other === undefined) return [`${path}: imports ${target}, which lies in no room`]
    if (other === room || rule.mayImport.includes(other)) return []
    if (rule.contracts?.includes(target) === true) return []
    if (rule.typesOf?.includes(other) === true) {
      return typeOnly ? [] : [`${path}: may import only types of ${other}: write \`import type\``]
    }
    return [`${path}: ${room} may not import ${other} (${specifier}); ${room}: ${rule.reason}`]
  })
}

function packageProblem(path: string, room: string, specifier: string, typeOnly: boolean): string[] {
  const parts = specifier.split('/')
  const name = specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]
  const owners = PACKAGE_OWNERS[name]
  if (typeOnly || owners === undefined || owners.includes(room)) return []
  return [`${path}: ${name} belongs to ${owners.join(', ')}`]
}

/** Reads of the clock or of chance in code (not in comments). */
function impureReads(path: string, text: string): string[] {
  if (MAY_READ_CLOCK.some((allowed) => path.startsWith(allowed))) return []
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
      const name = `${node.expression.text}.${node.name.text}`
      if (/^(Date\.now|Math\.random|performance\.now|process\.hrtime)$/.test(name))
        found.push(`${path}: ${name}`)
    }
    if (ts.isNewExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'Date') {
      if ((node.arguments?.length ?? 0) === 0) found.push(`${path}: new Date()`)
    }
    ts.forEachChild(node, visit)
  }
  visit(parse(text))
  return found
}

/** A path room -> ... -> room along the arrows, or null. */
function findCycle(arrows: Readonly<Record<string, readonly string[]>>): string[] | null {
  const done = new Set<string>()
  const walk = (room: string, path: readonly string[]): string[] | null => {
    if (path.includes(room)) return [...path.slice(path.indexOf(room)), room]
    if (done.has(room)) return null
    for (const next of arrows[room] ?? []) {
      const cycle = walk(next, [...path, room])
      if (cycle !== null) return cycle
    }
    done.add(room)
    return null
  }
  for (const room of Object.keys(arrows)) {
    const cycle = walk(room, [])
    if (cycle !== null) return cycle
  }
  return null
}

const files = sourceFiles().map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))

describe('the house', () => {
  it('imports only in the allowed directions', () => {
    expect(files.length).toBeGreaterThan(20)
    expect(files.flatMap(({ path, text }) => importProblems(path, text))).toEqual([])
  })

  it('has a table of directions without a cycle', () => {
    const arrows = Object.fromEntries(
      Object.entries(ROOMS).map(([room, rule]) => [room, [...rule.mayImport, ...(rule.typesOf ?? [])]]),
    )
    expect(findCycle(arrows)).toBeNull()
  })

  it('has contracts that import nothing', () => {
    const contracts = Object.values(ROOMS).flatMap((rule) => rule.contracts ?? [])
    const imports = contracts.flatMap((path) => importsOf(readFileSync(join(root, path), 'utf8')))
    expect(imports.filter(({ typeOnly }) => !typeOnly)).toEqual([])
  })

  it(`has no file longer than ${LINE_LIMIT} lines`, () => {
    const long = files.filter(({ text }) => text.trimEnd().split('\n').length > LINE_LIMIT)
    expect(long.map(({ path }) => path)).toEqual([])
  })

  it('reads clock and chance only where they are handed in', () => {
    expect(files.flatMap(({ path, text }) => impureReads(path, text))).toEqual([])
  })
})

describe('the checks themselves', () => {
  it('see every kind of import', () => {
    const text = `import a from './a.ts'\nimport type { B } from './b.ts'\nexport * from './c.ts'\nconst d = await import('./d.ts')\ntype E = import('./e.ts').E`
    expect(importsOf(text)).toEqual([
      { specifier: './a.ts', typeOnly: false },
      { specifier: './b.ts', typeOnly: true },
      { specifier: './c.ts', typeOnly: false },
      { specifier: './d.ts', typeOnly: false },
      { specifier: './e.ts', typeOnly: true },
    ])
  })

  it.each([
    ['src/base/x.ts', `import { Plan } from '../plan/plan.ts'`, 'base may not import plan'],
    ['src/plan/x.ts', `import { replay } from '../trace/link.ts'`, 'only types of trace'],
    ['src/plan/x.ts', `import { run } from '../../test/help.ts'`, 'lies in no room'],
    ['src/sim/x.ts', `import * as ort from 'onnxruntime-node'`, 'belongs to engine'],
    ['src/attic/x.ts', '', 'lies in no room'],
  ])('refuse %s: %s', (path, text, problem) => {
    expect(importProblems(path, text).join('\n')).toContain(problem)
  })

  it('find a clock in code and not in a comment', () => {
    expect(impureReads('src/sim/x.ts', 'const t = Date.now() + Math.random() + +new Date()')).toHaveLength(3)
    expect(impureReads('src/sim/x.ts', '// no Date.now() here\nconst d = new Date(5)')).toEqual([])
    expect(impureReads('src/cli/x.ts', 'Date.now()')).toEqual([])
  })

  it('find a cycle', () => {
    expect(findCycle({ a: ['b'], b: ['c'], c: ['b'] })).toEqual(['b', 'c', 'b'])
  })
})
