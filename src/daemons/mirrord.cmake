# The replication daemon; included by CMakeLists.txt beside it.
if(TARGET understudy_mirror_control)
  understudy_program(mirrord ${CMAKE_CURRENT_LIST_DIR}/mirrord.cpp
    DEPS understudy_mirror_control understudy_mirror_nbd_authority understudy_mirror_shared understudy_mirror_shared_posix understudy_mirror_emcmd understudy_mirror_emcmd_posix understudy_config understudy_messages understudy_runtime)
  if(TARGET understudy-quiesce)
    add_dependencies(mirrord understudy-quiesce)
  endif()
  if(TARGET understudy-fsmap)
    add_dependencies(mirrord understudy-fsmap)
  endif()
  if(TARGET understudy-keeper)
    add_dependencies(mirrord understudy-keeper)
  endif()
endif()
