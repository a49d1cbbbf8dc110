@echo off
rem @VERSION@ in one file: this script, and behind it a ZIP with the program and all it needs. The first start unpacks it
rem into a cache folder, later starts only run it. Needs tar.exe, which Windows has since version 1803 of Windows 10.
setlocal DisableDelayedExpansion
call :self
set "ftl_base=%FTL_CACHE%"
if not defined ftl_base if defined LOCALAPPDATA set "ftl_base=%LOCALAPPDATA%\ftl"
if not defined ftl_base set "ftl_base=%TEMP%\ftl"
set "ftl_app=%ftl_base%\app-@KEY@"
if exist "%ftl_app%\main.js" goto run

rem A truncated copy is told apart before anything is unpacked.
if not "%ftl_size%"=="@SIZE@" goto broken
set "ftl_tar=%SystemRoot%\System32\tar.exe"
if not exist "%ftl_tar%" goto old

rem Into a folder of this process, then renamed: another start at the same time does the same, and either result serves.
rem Two of the same second draw the same number: only one of them can make the folder of a name. No goto leads backward:
rem it would look for its label through the whole file first.
set "ftl_part="
set "ftl_draw=%ftl_base%\.unpack-@KEY@-%RANDOM%"
for /l %%i in (1,1,9) do if not defined ftl_part mkdir "%ftl_draw%-%%i" 2>nul && set "ftl_part=%ftl_draw%-%%i"
if not defined ftl_part goto readonly
rem tar.exe takes no names beyond the system's code page: it reads what is opened for it, and writes to where it stands.
pushd "%ftl_part%"
"%ftl_tar%" -xf - < "%FTL_PROGRAM%"
set "ftl_code=%errorlevel%"
popd
if not "%ftl_code%"=="0" goto full
rem A virus scanner may hold what is new for a while, and the folder is not renamed meanwhile.
for /l %%i in (1,1,20) do if not exist "%ftl_app%\main.js" ren "%ftl_part%" "app-@KEY@" 2>nul || ping -n 2 127.0.0.1 >nul
if not exist "%ftl_app%\main.js" goto held
if exist "%ftl_part%" rmdir /s /q "%ftl_part%"

:run
set "DENO_DIR=%ftl_app%\deno-dir"
set "DENO_NO_UPDATE_CHECK=1"
"%ftl_app%\deno.exe" run @FLAGS@ "%ftl_app%\main.js" %*
exit /b %errorlevel%

rem Called, it knows its own path however it was started: by a quoted name on PATH, by one without .cmd.
:self
set "FTL_PROGRAM=%~f0"
set "ftl_size=%~z0"
exit /b 0

:broken
>&2 echo ftl: this copy of "%FTL_PROGRAM%" is broken: it has %ftl_size% bytes, expected @SIZE@
>&2 echo   try: copy the file again
exit /b 1
:old
>&2 echo ftl: cannot unpack: there is no "%ftl_tar%"
>&2 echo   try: Windows 10 version 1803 or newer
exit /b 1
:readonly
>&2 echo ftl: cannot unpack to "%ftl_base%": it cannot be written to
>&2 echo   try: set FTL_CACHE to a folder that can be, with @MEGABYTES@ MB of space
exit /b 1
:full
rmdir /s /q "%ftl_part%"
>&2 echo ftl: cannot unpack to "%ftl_base%": tar.exe failed, is there room for @MEGABYTES@ MB?
>&2 echo   try: set FTL_CACHE to a folder with @MEGABYTES@ MB of space
exit /b 1
:held
rmdir /s /q "%ftl_part%"
>&2 echo ftl: cannot unpack to "%ftl_base%": another program keeps what was unpacked from being renamed
>&2 echo   try: once more, or set FTL_CACHE to a folder that no virus scanner watches
exit /b 1
