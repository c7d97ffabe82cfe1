# cmake -DPYTHON=python3 -DSOURCE=<checkout> -DWORK=<scratch folder> -DWHEELS=<output folder> -P BuildWheel.cmake
#
# Built from a copy: in the checkout setuptools would leave a build/ folder, and ship modules from it that are long gone.
foreach(_needed PYTHON SOURCE WORK WHEELS)
  if(NOT ${_needed})
    message(FATAL_ERROR "-D${_needed}= is missing")
  endif()
endforeach()

file(GLOB _older ${WHEELS}/monai_bmaps-*.whl)
file(REMOVE_RECURSE ${WORK} ${_older})
file(MAKE_DIRECTORY ${WHEELS})
file(COPY ${SOURCE}/pyproject.toml ${SOURCE}/README.md ${SOURCE}/LICENSE DESTINATION ${WORK})
file(COPY ${SOURCE}/monai_bmaps DESTINATION ${WORK} FILES_MATCHING PATTERN "*.py" PATTERN "py.typed")

# the same code gives the same file
set(ENV{SOURCE_DATE_EPOCH} 1577836800)
set(ENV{PIP_DISABLE_PIP_VERSION_CHECK} 1)
execute_process(
  COMMAND ${PYTHON} -m pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir ${WHEELS} ${WORK}
  RESULT_VARIABLE _result
  OUTPUT_VARIABLE _said
  ERROR_VARIABLE _said
  )
if(_result)
  message(FATAL_ERROR "${_said}\nNo wheel: ${PYTHON} needs pip and setuptools 70.1 or newer (or setuptools 68 with wheel).")
endif()
